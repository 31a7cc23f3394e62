//! Dreams that change on their way: with the schedule of their spec, or while they are made.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tch::Device;

use super::{
    super::{
        Backend as _, FinishedOctave, Kernels, OnBegin, Recipe, RenderError, RenderRequest, Rendered,
        Unencoded, device::Processor, engine::Engine,
    },
    objective, random_network, spec, squares,
};
use reverie_dream::spec::{
    Change, Count, DreamSpec, Motion, Objective, ObjectiveKind, OctaveMode, Pick, Playback,
};
use reverie_picture as picture;

fn photo() -> Bytes {
    squares(64, 48)
}

/// Renders with a guide; the result, and what was heard of octaves or frames.
fn try_render(
    spec: &DreamSpec,
    resume: Option<Vec<u8>>,
    on_begin: Option<OnBegin>,
) -> (Result<Rendered, RenderError>, Vec<FinishedOctave>) {
    try_render_with(Kernels::Auto, spec, resume, on_begin)
}

fn try_render_with(
    kernels: Kernels,
    spec: &DreamSpec,
    resume: Option<Vec<u8>>,
    on_begin: Option<OnBegin>,
) -> (Result<Rendered, RenderError>, Vec<FinishedOctave>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let of_octaves = Arc::clone(&heard);
    let mut engine = Engine::new(Processor::new(Device::Cpu, kernels), false, 1_000_000, None);
    let rendered = engine
        .render(RenderRequest {
            input: Some(photo()),
            guide: Some(photo()),
            resume: resume.map(Bytes::from),
            on_begin,
            on_octave: Some(Box::new(move |octave| of_octaves.lock().unwrap().push(octave))),
            ..RenderRequest::alone(random_network(), spec.clone())
        })
        .and_then(Unencoded::encode);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (rendered, heard)
}

fn render(spec: &DreamSpec) -> Vec<u8> {
    try_render(spec, None, None).0.unwrap().image
}

fn three_octaves() -> DreamSpec {
    DreamSpec {
        octaves: Count::Of(3),
        octave_scale: 1.2,
        octave_mode: OctaveMode::CarryDetail,
        iterations: Count::Of(2),
        recipe: true,
        ..spec(objective(ObjectiveKind::L2, "sum", &[]))
    }
}

fn others() -> Vec<Objective> {
    let picked = Objective {
        pick: Some(Pick::Strongest),
        count: Some(2),
        ..objective(ObjectiveKind::Mean, "sum", &[])
    };
    vec![picked, objective(ObjectiveKind::Guide, "sum", &[])]
}

fn change(octave: u32) -> Change {
    Change { octave: Some(octave), objectives: Some(others()), step: Some(3.0), ..Change::default() }
}

#[test]
fn an_octave_is_dreamed_as_if_its_spec_had_been_so_from_the_start() {
    let plain = three_octaves();
    // From the first octave on, it is another spec.
    let changed = DreamSpec { schedule: vec![change(1)], recipe: false, ..plain.clone() };
    let other = DreamSpec { objectives: others(), step: 3.0, recipe: false, ..plain.clone() };
    assert!(render(&changed) == render(&other));
    let plain = DreamSpec { recipe: false, ..plain };
    let last = DreamSpec { schedule: vec![change(3)], ..plain.clone() };
    assert!(render(&last) != render(&plain) && render(&last) != render(&other));
    // A place that is never reached changes nothing; nor does a change to what is in force.
    let never = DreamSpec { schedule: vec![change(4)], ..plain.clone() };
    let same = Change { octave: Some(2), step: Some(plain.step), ..Change::default() };
    let same = DreamSpec { schedule: vec![same], ..plain.clone() };
    assert!(render(&never) == render(&plain) && render(&same) == render(&plain));
}

#[test]
fn a_changed_dream_goes_on_after_a_checkpoint_to_the_same_bytes() {
    let spec = DreamSpec {
        schedule: vec![change(2), Change { octave: Some(3), step: Some(1.0), ..Change::default() }],
        ..three_octaves()
    };
    // On a GPU's path checkpoints are laid out beside the render.
    for kernels in [Kernels::Auto, Kernels::Library] {
        let (whole, octaves) = try_render_with(kernels, &spec, None, None);
        let whole = whole.unwrap();
        assert!(
            whole.notes.iter().any(|note| note.starts_with("from octave 2 on, objective 1 measures")),
            "{:?}",
            whole.notes
        );
        assert_eq!(octaves.len(), 2);
        for octave in octaves {
            let resumed = try_render_with(kernels, &spec, Some(octave.checkpoint), None).0.unwrap();
            assert!(
                resumed.image == whole.image && resumed.notes == whole.notes && resumed.score == whole.score
            );
        }
    }
}

#[test]
fn a_checkpoint_that_was_made_with_something_else_is_not_gone_on_from() {
    // An attempt left it before a change came that another attempt took up from its first octave on.
    let plain = DreamSpec { recipe: false, ..three_octaves() };
    let stale = || try_render(&plain, None, None).1.pop().unwrap().checkpoint;
    let changed = DreamSpec { schedule: vec![change(1)], ..plain.clone() };
    assert!(try_render(&changed, Some(stale()), None).0.unwrap().image == render(&changed));
    // Of a change that comes later it knows as much as it should.
    let later = DreamSpec { schedule: vec![change(3)], ..plain.clone() };
    let begun = Arc::new(Mutex::new(Vec::new()));
    let places = Arc::clone(&begun);
    let on_begin = |schedule: Vec<Change>| -> OnBegin {
        Box::new(move |place, _| {
            places.lock().unwrap().push(place);
            Ok(schedule.clone())
        })
    };
    let resumed = try_render(&later, Some(stale()), Some(on_begin(later.schedule.clone()))).0.unwrap();
    assert!(resumed.image == render(&later));
    assert_eq!(*begun.lock().unwrap(), [3], "it was not gone on from");
    // Nor from one of other tiles.
    let small = DreamSpec { tile_size: plain.tile_size / 2, ..plain.clone() };
    assert!(try_render(&small, Some(stale()), None).0.unwrap().image == render(&small));
}

#[test]
fn what_changes_on_the_way_is_in_the_recipe_and_replays_to_the_same_bytes() {
    let spec = DreamSpec {
        objectives: vec![
            objective(ObjectiveKind::L2, "sum", &[]),
            objective(ObjectiveKind::Guide, "sum", &[]),
        ],
        ..three_octaves()
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let places = Arc::clone(&asked);
    let on_begin: OnBegin = Box::new(move |place, places_in_all| {
        places.lock().unwrap().push((place, places_in_all));
        Ok(if place < 2 { Vec::new() } else { vec![change(2)] })
    });
    let live = try_render(&spec, None, Some(on_begin)).0.unwrap();
    assert_eq!(*asked.lock().unwrap(), [(1, 3), (2, 3), (3, 3)]);
    let text = picture::recipe::extract(&live.image).unwrap();
    let recipe: Recipe = serde_json::from_str(&text).unwrap();
    assert_eq!(recipe.spec.schedule, [change(2)]);
    let replayed = try_render(&recipe.spec, None, None).0.unwrap();
    assert!(replayed.image == live.image && replayed.notes == live.notes);
    let refused = try_render(&spec, None, Some(Box::new(|_, _| Err(RenderError::Canceled)))).0;
    assert!(matches!(refused, Err(RenderError::Canceled)));
}

#[test]
fn the_frames_of_an_animation_change_by_cross_fade() {
    let motion = Motion {
        frames: 6,
        zoom: 1.05,
        rotate: 0.0,
        shift_x: 0.0,
        shift_y: 0.0,
        iterations: 1,
        fps: 10,
        playback: Playback::Repeat,
    };
    let moving = DreamSpec { motion: Some(motion), octaves: Count::Of(2), recipe: false, ..three_octaves() };
    let fade =
        |frame: u32, fade: u32| Change { frame: Some(frame), octave: None, fade: Some(fade), ..change(1) };
    let faded = DreamSpec { schedule: vec![fade(2, 4)], ..moving.clone() };
    let (whole, frames) = try_render(&faded, None, None);
    let whole = whole.unwrap();
    let of = |file: &[u8]| {
        let decoder =
            image::codecs::png::PngDecoder::new(std::io::Cursor::new(file)).unwrap().apng().unwrap();
        image::AnimationDecoder::into_frames(decoder).collect_frames().unwrap()
    };
    let pictures = |spec: &DreamSpec| {
        of(&render(spec)).into_iter().map(|frame| frame.into_buffer().into_raw()).collect::<Vec<_>>()
    };
    let (faded_frames, plain, at_once) = (
        pictures(&faded),
        pictures(&moving),
        pictures(&DreamSpec { schedule: vec![fade(2, 1)], ..moving.clone() }),
    );
    assert_eq!(faded_frames[0], plain[0], "it begins with the second frame");
    assert!(faded_frames[1] != plain[1] && faded_frames[1] != at_once[1], "a quarter of both");
    // The first frame of a fade is a dream of the sum of both by their weights.
    let mixed = faded.at(2).into_owned();
    assert_eq!(mixed.objectives.len(), 3);
    let weights: Vec<f64> = mixed.objectives.iter().map(|objective| objective.weight).collect();
    assert_eq!(weights, [0.75, 0.25, 0.25]);
    for frame in frames {
        let resumed = try_render(&faded, Some(frame.checkpoint), None).0.unwrap();
        assert!(resumed.image == whole.image && resumed.notes == whole.notes);
    }
}
