//! Caffe's files (`.caffemodel`), which hold the network with its weights; in layers of today's kind and of the one before.
//!
//! [`import`] decodes the protobuf and turns the layers into a network one by one: the file has them in order. A file that was
//! written in training also reads its data and computes losses; both are passed over. Blobs are written over (`ReLU` in
//! place), so a name means what was last written under it. As in the other formats, a layer that is not understood takes only
//! its readers with it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;

use super::{
    Budget, ImportError, batch_norm, caffe_layers,
    caffe_proto::{Layer, NetParameter, V1Layer},
};
use reverie_graph::{Builder, Network, Node, NodeId, Op};

/// The largest networks in use have a few hundred layers.
const MAX_LAYERS: usize = 1 << 14;

/// Fields that are looked at to tell what a file is.
const MAX_FIELDS: usize = 64;

/// Subtracted from blue, green and red where the file does not say: ImageNet's mean.
const MEAN: [f32; 3] = [103.939, 116.779, 123.68];

/// A network with what its file says of pixels.
#[derive(Debug)]
pub struct Imported {
    /// The network.
    pub network: Network,
    /// Subtracted from red, green and blue.
    pub mean: [f32; 3],
    /// Multiplied afterwards.
    pub scale: f32,
    /// Names of the linear layers; those that read a map are convolutions in the network.
    pub linear: Vec<String>,
}

/// Whether a file that starts like this may be one of Caffe's: a protobuf with a name, then layers. A TensorFlow graph has
/// nodes in the field of the name.
pub fn is_caffe(start: &[u8]) -> bool {
    let mut rest = start;
    for _ in 0..MAX_FIELDS {
        let Some(field) = next_field(&mut rest) else { return false };
        match field {
            // The name; of a TensorFlow graph, a node, which begins with its own name.
            (1, content) if content.first() == Some(&0x0a) => return false,
            (1, _) => {}
            (2 | 100, content) => {
                return content.first().is_some_and(|tag| [0x0a, 0x12, 0x1a, 0x22].contains(tag));
            }
            _ => {}
        }
    }
    false
}

/// Number and content of the next field; numbers have no content. None where there is none that Caffe's files have.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(rest)?;
    let content = match tag & 7 {
        0 => {
            varint(rest)?;
            &[]
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            content
        }
        _ => return None,
    };
    Some((tag >> 3, content))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..5 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads and translates a network.
///
/// # Errors
/// See [`ImportError`]; the message names the layer at fault.
pub fn import(file: impl Into<Bytes>) -> Result<Imported, ImportError> {
    let file = file.into();
    let mut budget = Budget::of_file(file.len());
    let net = NetParameter::decode(file).map_err(|error| malformed(error.to_string()))?;
    let count = net.layer.len() + net.layers.len();
    if count > MAX_LAYERS {
        return Err(malformed(format!("it has {count} layers, at most {MAX_LAYERS} are allowed")));
    }
    let old = net.layers.iter().map(|bytes| V1Layer::decode(bytes.clone()).map(Layer::from));
    let new = net.layer.iter().map(|bytes| Layer::decode(bytes.clone()));
    let mut translation = Translation::default();
    for input in net.input.iter().take(1) {
        translation.image(input, None)?;
    }
    for (index, layer) in old.chain(new).enumerate() {
        let layer = layer.map_err(|error| malformed(format!("layer number {index}: {error}")))?;
        translation.layer(&layer, &mut budget)?;
    }
    translation.finish(&mut budget)
}

fn malformed(problem: impl Into<String>) -> ImportError {
    ImportError::Malformed { format: "Caffe model", problem: problem.into() }
}

/// What a blob's name means at present.
#[derive(Clone)]
enum Blob {
    Layer(NodeId),
    Opaque(Arc<str>),
}

#[derive(Default)]
struct Translation {
    blobs: HashMap<String, Blob>,
    names: HashSet<String>,
    image: Option<NodeId>,
    /// Mean and scale.
    pixels: Option<([f32; 3], f32)>,
    builder: Builder,
    linear: Vec<String>,
    left_out: BTreeMap<String, Arc<str>>,
    refusal: Option<ImportError>,
}

impl Translation {
    /// The image, under the name of its blob. A file of a training run may read several sets of them.
    fn image(&mut self, blob: &str, layer: Option<&Layer>) -> Result<(), ImportError> {
        let id = match self.image {
            Some(id) => id,
            None => self.builder.push(Node {
                name: blob.to_owned(),
                op: Op::Input { channels: 3 },
                inputs: vec![],
            })?,
        };
        self.image = Some(id);
        self.names.insert(blob.to_owned());
        self.blobs.insert(blob.to_owned(), Blob::Layer(id));
        if let Some(transform) = layer.and_then(|layer| layer.transform.as_ref()) {
            let mean = match transform.mean_value[..] {
                [blue, green, red] => [red, green, blue],
                [all] => [all; 3],
                _ => reversed(MEAN),
            };
            let scale = transform.scale.unwrap_or(1.0);
            if mean.iter().chain([&scale]).all(|value| value.is_finite()) && scale != 0.0 {
                self.pixels = Some((mean, scale));
            }
        }
        Ok(())
    }

    /// Translates one layer.
    ///
    /// # Errors
    /// What the rest of the file does not survive: weights beyond the budget.
    fn layer(&mut self, layer: &Layer, budget: &mut Budget) -> Result<(), ImportError> {
        match layer.r#type.as_str() {
            // Labels come second.
            "Data" | "ImageData" | "Input" | "MemoryData" | "HDF5Data" | "DummyData" | "WindowData" => {
                return layer.top.first().map_or(Ok(()), |blob| self.image(blob, Some(layer)));
            }
            "Accuracy" | "Silence" => return Ok(()),
            _ => {}
        }
        let given = match self.translated(layer, budget) {
            Ok(blob) => blob,
            Err(error) if budget.is_exhausted() => return Err(error),
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                self.refusal.get_or_insert(error);
                Blob::Opaque(reason)
            }
        };
        match &given {
            Blob::Opaque(reason) => {
                self.left_out.insert(layer.name.clone(), Arc::clone(reason));
            }
            Blob::Layer(_) if layer.r#type == "InnerProduct" => self.linear.push(layer.name.clone()),
            Blob::Layer(_) => {}
        }
        for (index, top) in layer.top.iter().enumerate() {
            let blob = match (index, layer.r#type.as_str()) {
                (0, _) | (_, "Split") => given.clone(),
                _ => Blob::Opaque(format!("\"{top}\" is not the first blob of its layer").into()),
            };
            self.blobs.insert(top.clone(), blob);
        }
        Ok(())
    }

    fn translated(&mut self, layer: &Layer, budget: &mut Budget) -> Result<Blob, ImportError> {
        // The label of a loss is no part of the network.
        let read = if layer.r#type == "SoftmaxWithLoss" { 1 } else { layer.bottom.len() };
        let mut inputs = Vec::with_capacity(read);
        for blob in layer.bottom.iter().take(read) {
            inputs.push(match self.blobs.get(blob) {
                Some(Blob::Layer(id)) => *id,
                Some(opaque) => return Ok(opaque.clone()),
                None => {
                    let (node, input) = (layer.name.clone(), blob.clone());
                    return Err(ImportError::MissingInput { node, input });
                }
            });
        }
        if layer.r#type == "Split" {
            return match inputs[..] {
                [input] => Ok(Blob::Layer(input)),
                _ => Err(caffe_layers::refused(layer, "needs one blob")),
            };
        }
        if !self.names.insert(layer.name.clone()) {
            return Err(ImportError::DuplicateName(layer.name.clone()));
        }
        Ok(Blob::Layer(caffe_layers::translate(layer, &inputs, &mut self.builder, budget)?))
    }

    fn finish(self, budget: &mut Budget) -> Result<Imported, ImportError> {
        let Self { builder, linear, mut left_out, refusal, image, pixels, .. } = self;
        if image.is_none() {
            return Err(ImportError::Inputs(Vec::new()));
        }
        let only_image = builder.nodes().len() == 1;
        if let Some(refusal) = refusal.filter(|_| only_image) {
            return Err(refusal);
        }
        // Of two layers with one name the first is there.
        let names: HashSet<&str> = builder.nodes().iter().map(|node| &*node.name).collect();
        left_out.retain(|name, _| !names.contains(name.as_str()));
        let (mean, scale) = pixels.unwrap_or((reversed(MEAN), 1.0));
        // A normalisation is two layers, `BatchNorm` and `Scale`.
        let network = batch_norm::build(builder, left_out, 2, budget)?;
        Ok(Imported { network, mean, scale, linear })
    }
}

fn reversed([blue, green, red]: [f32; 3]) -> [f32; 3] {
    [red, green, blue]
}

#[cfg(test)]
mod tests;
