//! Derivatives against autograd.

use super::{
    super::{
        exec::Manner,
        tests::{objective, random_network},
    },
    *,
};

/// Scores and gradients of tiles that are climbed in the same way, and each as autograd has it.
#[test]
fn written_derivatives_are_those_of_autograd() {
    tch::manual_seed(8);
    let class = |kind, layer| Objective { class: Some(3), ..objective(kind, layer, &[]) };
    let weighted = |weight, objective| Objective { weight, ..objective };
    let cases = [
        vec![objective(ObjectiveKind::Mean, "sum", &[])],
        vec![objective(ObjectiveKind::Mean, "sum", &[1, 5])],
        vec![objective(ObjectiveKind::L2, "sum", &[])],
        vec![objective(ObjectiveKind::L2, "lrn", &[0, 2, 15])],
        vec![class(ObjectiveKind::Class, "logits")],
        vec![class(ObjectiveKind::Class, "sum")],
        vec![class(ObjectiveKind::Probability, "logits")],
        vec![class(ObjectiveKind::Probability, "softmax")],
        vec![class(ObjectiveKind::Probability, "sum")],
        vec![
            weighted(0.5, objective(ObjectiveKind::L2, "sum", &[])),
            weighted(-2.0, objective(ObjectiveKind::Mean, "sum", &[4])),
            weighted(3.0, class(ObjectiveKind::Probability, "logits")),
        ],
    ];
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        for objectives in &cases {
            let bound = BoundObjective::new(executor.network(), objectives).unwrap().on(Device::Cpu).unwrap();
            let tiles = Tensor::rand([3, 3, 26, 37], (Kind::Double, Device::Cpu)) * 255.0;
            let tile_objective = TileObjective { bound: &bound, whole: None };
            let (scores, together) = gradients(&executor, &tiles, &[tile_objective; 3]).unwrap();
            let later = bound.scores(&executor, &tiles).unwrap();
            for index in 0..3 {
                let leaf = tiles.narrow(0, index, 1).copy().set_requires_grad(true);
                let score = bound.score(&executor, &leaf).unwrap();
                let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
                let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
                let error = norm(&(together.narrow(0, index, 1) - &expected)) / norm(&expected);
                // The gradient leaves the executor in single precision.
                assert!(error < 1e-6, "{objectives:?}, library {library}: {error}");
                let score = score.double_value(&[]);
                for scores in [&scores, &later] {
                    let found = scores.double_value(&[index]);
                    assert!((found - score).abs() <= 1e-12 * score.abs(), "{objectives:?}: {found}, {score}");
                }
            }
        }
    }
}
