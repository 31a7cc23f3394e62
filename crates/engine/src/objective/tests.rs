//! Derivatives against autograd.

use super::{
    super::{
        exec::Manner,
        tests::{objective, random_network},
    },
    *,
};
use reverie_dream::{plan::Span, spec::Spot};
use tch::Device;

/// Along channels of "sum", "lrn" or "logits".
fn direction(layer: &str, power: u32) -> Objective {
    let direction = [(1, 1.0), (4, -0.5), (7, 2.0)].into_iter().collect();
    let objective = objective(ObjectiveKind::Direction, layer, &[]);
    Objective { direction, cosine_power: Some(power), ..objective }
}

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
        vec![direction("sum", 0)],
        vec![direction("sum", 1)],
        vec![weighted(-0.5, direction("lrn", 3)), direction("logits", 2)],
    ];
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        for objectives in &cases {
            let bound = BoundObjective::new(executor.network(), objectives).unwrap().on(Device::Cpu).unwrap();
            let tiles = Tensor::rand([3, 3, 26, 37], (Kind::Double, Device::Cpu)) * 255.0;
            let tile_objective = TileObjective { bound: &bound, whole: None, tile: 0 };
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

/// Tiles of pictures of several sizes in a batch: each is climbed as its part of the mean over its picture.
#[test]
fn a_tile_counts_as_its_part_of_the_picture() {
    tch::manual_seed(10);
    let weighted = |weight, objective| Objective { weight, ..objective };
    let cases = [
        vec![objective(ObjectiveKind::L2, "sum", &[2, 3])],
        vec![
            objective(ObjectiveKind::L2, "lrn", &[]),
            weighted(-3.0, objective(ObjectiveKind::Mean, "logits", &[4])),
        ],
    ];
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        for objectives in &cases {
            let bound = BoundObjective::new(executor.network(), objectives).unwrap().on(Device::Cpu).unwrap();
            let tiles = Tensor::rand([4, 3, 26, 37], (Kind::Double, Device::Cpu)) * 255.0;
            // A quarter, eight times as much, and twice a half.
            let part = bound.positions(executor.network(), 26, 37).unwrap();
            let shares = [0.25, 8.0, 0.5, 0.5];
            let wholes = shares.map(|share| part.iter().map(|part| part / share).collect::<Vec<_>>());
            let alone = TileObjective { bound: &bound, whole: None, tile: 0 };
            let tile_objectives =
                wholes.each_ref().map(|whole| TileObjective { whole: Some(whole), ..alone });
            let (scores, found) = gradients(&executor, &tiles, &tile_objectives).unwrap();
            let (same, expected) = gradients(&executor, &tiles, &[alone; 4]).unwrap();
            assert_eq!(scores, same, "a tile's score is its own");
            for (index, share) in (0..).zip(shares) {
                let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
                let expected = expected.narrow(0, index, 1) * share;
                let error = norm(&(found.narrow(0, index, 1) - &expected)) / norm(&expected);
                assert!(error < 1e-6, "{objectives:?}, library {library}, {share}: {error}");
            }
        }
    }
}

/// What counts near a place, in tiles of a picture that was rolled; each of them as autograd has it, and together as one by one.
#[test]
fn what_is_lit_counts_where_the_picture_has_it() {
    tch::manual_seed(9);
    let at = |objective, x, y| Objective { at: Some(Spot { x, y, radius: 0.2 }), ..objective };
    let cases = [
        vec![at(objective(ObjectiveKind::Mean, "lrn", &[3]), 0.4, 0.7)],
        vec![
            at(objective(ObjectiveKind::L2, "sum", &[]), 0.0, 1.0),
            objective(ObjectiveKind::L2, "lrn", &[]),
        ],
        vec![at(direction("sum", 2), 0.5, 0.5)],
        vec![at(direction("lrn", 0), 0.9, 0.1)],
    ];
    let strip = |start, length| {
        let span = Span { start, length };
        Strip { window: span, core: span }
    };
    // The last one runs over the picture's edge.
    let tiles = [(0, 0), (30, 12), (80, 60)]
        .map(|(row, column)| Tile { row: strip(row, 26), column: strip(column, 37) });
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        for objectives in &cases {
            let bound = BoundObjective::new(executor.network(), objectives).unwrap().on(Device::Cpu).unwrap();
            let lit = |tiles: &[Tile]| {
                bound.lit(executor.network(), tiles, [100, 80], (13, 71), None).unwrap().unwrap()
            };
            let together = lit(&tiles);
            assert!(together.is_lit() && !bound.is_lit());
            let images = Tensor::rand([3, 3, 26, 37], (Kind::Double, Device::Cpu)) * 255.0;
            let of = |tile| TileObjective { bound: &together, whole: None, tile };
            let (scores, all) = gradients(&executor, &images, &[0, 1, 2].map(of)).unwrap();
            let later = together.scores(&executor, &images).unwrap();
            for index in 0..3 {
                let leaf = images.narrow(0, index, 1).copy().set_requires_grad(true);
                let score = lit(&tiles[index as usize..][..1]).score(&executor, &leaf).unwrap();
                let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
                let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
                let error = norm(&(all.narrow(0, index, 1) - &expected)) / norm(&expected);
                assert!(error < 1e-6, "{objectives:?}, library {library}: {error}");
                let score = score.double_value(&[]);
                for found in [&scores, &later].map(|scores| scores.double_value(&[index])) {
                    assert!((found - score).abs() <= 1e-12 * score.abs(), "{objectives:?}: {found}, {score}");
                }
            }
        }
    }
}

#[test]
fn a_direction_without_activation_has_a_derivative() {
    let manner = Manner::of(Kind::Float);
    let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
    let bound = BoundObjective::new(executor.network(), &[direction("rectified", 2)]).unwrap();
    for value in [0.0, 100.0] {
        let tile = Tensor::full([1, 3, 20, 20], value, (Kind::Float, Device::Cpu));
        let (score, gradient) = bound.gradient(&executor, &tile).unwrap();
        assert!(score.is_finite() && gradient.isfinite().all().int64_value(&[]) == 1, "{value}");
    }
}
