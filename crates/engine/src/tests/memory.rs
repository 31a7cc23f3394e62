//! A device with too little memory: batches are halved, then tiles, and at the end the request is refused.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        CancelFlag, RenderError,
        batch::{GradientSource, LocalExecutor},
        cuda::GpuKernels,
        dream::{Callbacks, Fitted, Start, dream, within_memory},
        exec::{Executor, Manner},
        objective::BoundObjective,
        original::Original,
        tiles::TiledGradient,
    },
    objective, random_network, spec,
};
use reverie_dream::spec::{Count, DreamSpec, ObjectiveKind, OctaveMode};
use reverie_graph::{Network, NodeId};

/// A network on a device whose memory is enough for passes of so many pixels.
struct SmallDevice {
    whole: LocalExecutor,
    pixels: i64,
    /// Tiles of each pass that was tried, and whether it fitted.
    passes: RefCell<Vec<(i64, bool)>>,
}

impl SmallDevice {
    fn new(pixels: i64) -> Self {
        let manner = Manner { library_only: true, ..Manner::of(Kind::Float) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        Self { whole: LocalExecutor::new(executor), pixels, passes: RefCell::default() }
    }

    fn take(&self, tiles: &Tensor) -> Result<(), RenderError> {
        let (count, _, height, width) = tiles.size4()?;
        let fits = count * height * width <= self.pixels;
        self.passes.borrow_mut().push((count, fits));
        if fits {
            return Ok(());
        }
        Err(tch::TchError::Torch("CUDA out of memory. Tried to allocate 2.00 GiB.".into()).into())
    }

    fn failures(&self) -> usize {
        self.passes.borrow().iter().filter(|(_, fits)| !fits).count()
    }
}

impl GradientSource for SmallDevice {
    fn network(&self) -> &Network {
        self.whole.network()
    }

    fn is_library(&self) -> bool {
        true
    }

    fn gpu_kernels(&self) -> Option<GpuKernels> {
        None
    }

    fn features(&self, image: Tensor, layers: &[NodeId]) -> Result<Vec<Tensor>, RenderError> {
        self.whole.features(image, layers)
    }

    fn at_once(&self, bound: &BoundObjective, size: [i64; 2], tiles: usize) -> usize {
        self.whole.at_once(bound, size, tiles)
    }

    fn gradients(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        whole: Option<&[f64]>,
        cancel: &CancelFlag,
    ) -> Result<(Tensor, Tensor), RenderError> {
        self.take(&tiles)?;
        self.whole.gradients(tiles, bound, whole, cancel)
    }

    fn scores(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        cancel: &CancelFlag,
    ) -> Result<Tensor, RenderError> {
        self.take(&tiles)?;
        self.whole.scores(tiles, bound, cancel)
    }
}

/// A dream of 400×300 pixels in one octave, on a device with memory for passes of so many pixels: the picture, the edge
/// of its tiles, the device.
fn dreamed(pixels: i64, tile_size: u32) -> (Result<(Tensor, u32), RenderError>, SmallDevice) {
    let objective = objective(ObjectiveKind::L2, "sum", &[]);
    let spec = DreamSpec {
        octaves: Count::Of(1),
        octave_mode: OctaveMode::Enlarge,
        tile_size,
        iterations: Count::Of(2),
        ..spec(objective)
    };
    let device = SmallDevice::new(pixels);
    let bound = BoundObjective::new(device.network(), &spec.objectives).unwrap();
    let cancel = CancelFlag::default();
    let original = Tensor::arange(400 * 300 * 3, (Kind::Float, Device::Cpu)).remainder(211.0);
    let original = Original::of_floats(&original.view([1, 3, 300, 400]));
    let outcome = within_memory(&spec, |spec| {
        let tiled = TiledGradient::new(&device, &bound, spec, &cancel);
        let callbacks = Callbacks {
            on_progress: &mut |_| (),
            on_begin: &mut |_, _| Ok(None),
            on_octave: &mut |_, _| Ok(()),
            previews: None,
        };
        dream(&tiled, spec, Start::of(&original), u64::MAX, callbacks)
    });
    let outcome = outcome.map(|Fitted { dreamed, tile_size }| (dreamed.image, tile_size));
    drop(bound);
    (outcome, device)
}

#[test]
fn a_batch_that_does_not_fit_is_halved_and_the_dream_is_the_same() {
    let (enough, roomy) = dreamed(i64::MAX, 128);
    let (halved, cramped) = dreamed(200 * 200 * 2, 128);
    let ((enough, tile), (halved, same_tile)) = (enough.unwrap(), halved.unwrap());
    assert_eq!((tile, same_tile, roomy.failures()), (128, 128, 0));
    assert!(roomy.passes.borrow().iter().any(|(tiles, _)| *tiles > 2), "there is nothing to halve");
    assert!((1..=4).contains(&cramped.failures()), "{:?}", cramped.passes.borrow());
    let difference = (enough - halved).abs().max().double_value(&[]);
    assert!(difference < 0.01, "{difference}");
}

#[test]
fn a_tile_that_does_not_fit_is_halved_and_the_caller_is_told() {
    let (outcome, device) = dreamed(250 * 250, 512);
    let (image, tile_size) = outcome.unwrap();
    assert!((128..512).contains(&tile_size), "{tile_size}");
    assert_eq!(image.size(), [1, 3, 300, 400]);
    assert!(device.passes.borrow().iter().any(|(_, fits)| *fits));
}

#[test]
fn a_dream_that_fits_in_no_way_is_refused() {
    let (outcome, device) = dreamed(10, 512);
    let error = outcome.unwrap_err();
    assert!(matches!(error, RenderError::OutOfMemory(_)) && error.is_permanent(), "{error}");
    assert!(error.to_string().contains("too little memory"), "{error}");
    assert!(device.failures() < 20, "it is tried again and again: {:?}", device.passes.borrow());
}
