//! `reverie models certify`: has the framework that a model's file comes from compute every layer and its gradient on an image made for
//! it, and compares as `reverie models verify` does, with the arithmetic that renders.
//!
//! The framework runs in a process of its own (`reference.py`, which this program carries), with packages of its own
//! (`packages`). It gets the preprocessing and the layers' names and shapes, and writes a reference file.

mod packages;
mod report;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Compute, ExitCode, Failure, Folder, load, size};
use reverie_dream::model::Model;
use reverie_engine::verify;
use reverie_graph::{NodeId, Shape, visible};
use reverie_models::{self as models, Format};

/// The script, and what it is made of, by name.
const SCRIPTS: [(&str, &str); 5] = [
    ("reference.py", include_str!("reference.py")),
    ("peer_common.py", include_str!("peer_common.py")),
    ("peer_onnxruntime.py", include_str!("peer_onnxruntime.py")),
    ("peer_tensorflow.py", include_str!("peer_tensorflow.py")),
    ("peer_torch.py", include_str!("peer_torch.py")),
];

/// Names in a line.
const SHOWN: usize = 8;

/// Arguments of `reverie models certify`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A model's id, or a model file.
    #[arg(required_unless_present = "prepare")]
    model: Option<String>,
    /// The framework; by default the one that the file comes from.
    #[arg(long, value_name = "FRAMEWORK")]
    with: Option<Peer>,
    /// Only fetch the framework's packages, and say in which folder they are.
    #[arg(long, requires = "with", conflicts_with_all = ["model", "keep"])]
    prepare: bool,
    /// Keep the reference, for `reverie models verify`.
    #[arg(long, value_name = "FILE.npz")]
    keep: Option<PathBuf>,
    /// Size of the image; layers that do not fit it are left out.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "78x65", value_parser = size)]
    size: [u32; 2],
    /// Python 3.11 or later, with pip. Packages are fetched once, into $XDG_CACHE_HOME/reverie.
    #[arg(long, env = "REVERIE_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    folder: Folder,
}

/// A framework that computes references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    /// For ONNX files.
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// For frozen graphs.
    #[value(name = "tensorflow")]
    TensorFlow,
    /// For state dicts and safetensors files of torchvision's networks and EfficientNet-Lite.
    Torch,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::TensorFlow => "tensorflow",
            Self::Torch => "torch",
        }
    }

    /// The one for a format, and what a file of it is called.
    fn of(format: Format) -> (Option<Self>, &'static str) {
        match format {
            Format::GraphDef => (Some(Self::TensorFlow), "a TensorFlow graph"),
            Format::Onnx => (Some(Self::OnnxRuntime), "an ONNX file"),
            Format::Torch => (Some(Self::Torch), "a state dict of PyTorch"),
            Format::Safetensors => (Some(Self::Torch), "a safetensors file"),
            Format::Caffe => (None, "a Caffe model"),
        }
    }
}

/// What the script says of the layers.
#[derive(Deserialize)]
struct Summary {
    /// Without a gradient: on every image that was tried it depends on the last digits.
    undecided: Vec<String>,
    /// Not among what the framework puts out.
    absent: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Some(model) = &args.model else {
        let peer = args.with.ok_or("--with says which framework's packages are wanted")?;
        let packages = packages::prepare(peer, &args.python)?;
        writeln!(io::stdout(), "{}", packages.display())?;
        return Ok(ExitCode::SUCCESS);
    };
    let model = Arc::new(load(model, &args.folder)?);
    let peer = peer(&model.path, args.with)?;
    let [width, height] = args.size.map(|side| side as usize);
    let layers = layers(&model, [width, height]);
    let too_large = model.network.nodes().len() - 1 - layers.len();
    let packages = packages::prepare(peer, &args.python)?;
    let folder = tempfile::tempdir()?;
    let reference = folder.path().join("reference.npz");
    let request = request(&model, peer, [width, height], layers)?;
    let summary = make(&args.python, &packages, &request, folder.path(), &reference)?;
    if let Some(keep) = &args.keep {
        fs::copy(&reference, keep).map_err(|error| format!("{}: {error}", keep.display()))?;
    }
    let checks = verify::verify(&model, &reference, &args.compute.device, args.compute.kernels)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} against {}, {width}x{height} pixels", model.id, peer.name())?;
    let failed = report::print(&mut out, &model.network, &checks)?;
    let lists = [
        ("undecided gradients, at a kink on every image that was tried", summary.undecided),
        ("no outputs of the framework's own", summary.absent),
    ];
    for (what, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
        let more = if names.len() > SHOWN { ", …" } else { "" };
        let shown = names.get(..SHOWN).unwrap_or(names);
        writeln!(out, "{} {what}: {}{more}", names.len(), visible(&shown.join(", ")))?;
    }
    if too_large > 0 {
        writeln!(out, "{too_large} layers do not fit {width}x{height} pixels; try another --size")?;
    }
    if failed > 0 {
        eprintln!("error: {failed} layer(s) of {} are out of tolerance", model.id);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The framework to ask.
fn peer(path: &Path, with: Option<Peer>) -> Result<Peer, Failure> {
    let (peer, what) = Peer::of(models::format_of(path)?);
    let path = path.display();
    let Some(peer) = peer else {
        let problem =
            "none of the frameworks reads it; compare with values of your own by `reverie models verify`";
        return Err(format!("{path}: this is {what}, {problem}").into());
    };
    match with {
        Some(with) if with != peer => {
            let (with, peer) = (with.name(), peer.name());
            Err(format!("{path}: this is {what}, which {with} does not read; use --with {peer}").into())
        }
        _ => Ok(peer),
    }
}

/// Shapes of the layers that an image of this size fits, by name: `[height, width, channels]` or `[features]`.
fn layers(model: &Model, [width, height]: [usize; 2]) -> Map<String, Value> {
    let network = &model.network;
    let ids = (0..network.nodes().len()).map(NodeId).filter(|&id| id != network.input());
    let shape = |id: NodeId| network.shapes(&[id], height, width).ok()?.get(id.0).copied()?;
    let described = ids.filter_map(|id| {
        let shape = match shape(id)? {
            Shape::Map { channels, height, width } => json!([height, width, channels]),
            Shape::Rows { rows: 1, features } => json!([features]),
            Shape::Rows { rows, features } => json!([rows, features]),
        };
        Some((network.node(id).name.clone(), shape))
    });
    described.collect()
}

fn request(
    model: &Model,
    peer: Peer,
    [width, height]: [usize; 2],
    layers: Map<String, Value>,
) -> Result<Value, Failure> {
    // Frameworks look for external data beside the file.
    let path = fs::canonicalize(&model.path).map_err(|error| format!("{}: {error}", model.path.display()))?;
    let path = path.to_str().ok_or("the model's path is not UTF-8")?;
    let preparation = &model.preprocessing;
    Ok(json!({
        "peer": peer.name(), "model": path, "input": model.network.node(model.network.input()).name,
        "layers": layers, "width": width, "height": height,
        "mean": preparation.mean, "scale": preparation.scale, "bgr": preparation.bgr,
    }))
}

/// Has the script write the reference.
fn make(
    python: &Path,
    packages: &Path,
    request: &Value,
    folder: &Path,
    out: &Path,
) -> Result<Summary, Failure> {
    for (name, text) in SCRIPTS {
        fs::write(folder.join(name), text)?;
    }
    let asked = folder.join("request.json");
    fs::write(&asked, serde_json::to_vec(request)?)?;
    let peer = request["peer"].as_str().unwrap_or_default();
    eprintln!("{peer} computes the reference");
    let output = Command::new(python)
        .arg(folder.join("reference.py"))
        .args([&asked, out])
        .env("PYTHONPATH", packages)
        .env("PYTHONNOUSERSITE", "1")
        .env("TF_CPP_MIN_LOG_LEVEL", "3")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let why = packages::last_line(&output.stderr);
        return Err(format!("{peer} cannot compute this model: {why}").into());
    }
    let line = output.stdout.rsplit(|&byte| byte == b'\n').find(|line| !line.is_empty());
    Ok(serde_json::from_slice(line.unwrap_or_default())?)
}
