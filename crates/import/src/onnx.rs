//! ONNX files (`.onnx`), in the versions of its operations that exporters have written since 2017.
//!
//! [`import`] decodes the protobuf and turns the nodes into a network one by one: the file has them in order. A layer is called
//! after the value that it gives, as other programs name it. As in TensorFlow's graphs, a node that is not understood takes
//! only its readers with it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;

use super::{
    Budget, ImportError, batch_norm,
    onnx_call::{Call, Constant, Value},
    onnx_data::{DataFiles, with_values},
    onnx_ops,
    onnx_proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, data_type},
};
use reverie_graph::{Builder, Network, Node, Op};

/// The largest networks in use have a few thousand nodes and weights.
const MAX_ENTRIES: usize = 1 << 16;

/// Versions of the operations that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=22;

/// Whether a file that starts like this may be an ONNX file: its version of the format comes first.
pub fn is_onnx(start: &[u8]) -> bool {
    // The first was never in use; a SavedModel begins like it.
    matches!(start, [0x08, 2..=32, ..])
}

/// Reads and translates a network. The image goes in as the file's input expects it, layers are called after the values
/// that they give, and initial values become weights. `data` has the files beside it that it names
/// ([`data_files`](super::onnx_data::data_files)).
///
/// # Errors
/// See [`ImportError`]; the message names the node at fault.
pub fn import(file: impl Into<Bytes>, data: &DataFiles) -> Result<Network, ImportError> {
    let file = file.into();
    let beside = data.values().map(Bytes::len).fold(0, usize::saturating_add);
    let mut budget = Budget::of_file(file.len().saturating_add(beside));
    let model = ModelProto::decode(file).map_err(|error| malformed(error.to_string()))?;
    let opset = opset(&model)?;
    let graph = model.graph.ok_or_else(|| malformed("it has no network"))?;
    for (what, count) in [("nodes", graph.node.len()), ("weights", graph.initializer.len())] {
        if count > MAX_ENTRIES {
            return Err(malformed(format!("it has {count} {what}, at most {MAX_ENTRIES} are allowed")));
        }
    }
    let nodes = graph.node.iter().enumerate().map(|(index, bytes)| {
        NodeProto::decode(bytes.clone()).map_err(|error| malformed(format!("node number {index}: {error}")))
    });
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let mut translation = Translation::new(&graph, &nodes, opset, data)?;
    for node in &nodes {
        translation.node(node, &mut budget)?;
    }
    translation.finish(&mut budget)
}

fn malformed(problem: impl Into<String>) -> ImportError {
    ImportError::Malformed { format: "ONNX file", problem: problem.into() }
}

fn opset(model: &ModelProto) -> Result<i64, ImportError> {
    let standard = model.opset_import.iter().find(|set| is_standard(&set.domain));
    let version = standard.map_or(1, |set| set.version);
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    let (first, last) = (OPSETS.start(), OPSETS.end());
    Err(malformed(format!(
        "it is written in version {version} of ONNX's operations; {first} to {last} are read"
    )))
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The first value of a node that does not give one.
fn nothing() -> Value {
    Value::Opaque("its node has no first output".into())
}

/// What a node's layer is called: as the value that it gives. Empty where there is none.
fn name_of(node: &NodeProto) -> &str {
    node.output.first().map_or("", String::as_str)
}

/// A network while it is translated.
struct Translation<'a> {
    values: HashMap<&'a str, Value>,
    /// Names that nodes of ours may not have.
    taken: HashSet<&'a str>,
    /// Length of the rows that a value is multiplied as, where it is.
    row_lengths: HashMap<&'a str, usize>,
    /// Rows and columns of the image that the file was made for, where it says so.
    size: Option<[usize; 2]>,
    opset: i64,
    builder: Builder,
    left_out: BTreeMap<String, Arc<str>>,
    refusal: Option<ImportError>,
}

impl<'a> Translation<'a> {
    fn new(
        graph: &'a GraphProto,
        nodes: &'a [NodeProto],
        opset: i64,
        data: &DataFiles,
    ) -> Result<Self, ImportError> {
        let mut weights = HashMap::with_capacity(graph.initializer.len());
        for (index, bytes) in graph.initializer.iter().enumerate() {
            let tensor = TensorProto::decode(bytes.clone());
            let tensor = tensor.map_err(|error| malformed(format!("weight number {index}: {error}")))?;
            weights.insert(tensor.name.clone(), Arc::new(with_values(tensor, data)?));
        }
        let mut row_lengths = HashMap::new();
        let mut taken = HashSet::new();
        for node in nodes {
            taken.extend(node.output.iter().map(String::as_str));
            if let ("MatMul" | "Gemm", [rows, weight, ..]) = (node.op_type.as_str(), &node.input[..])
                && let Some(tensor) = weights.get(weight)
                && let [first, second] = tensor.dims[..]
            {
                let transposed = node.attribute.iter().any(|attr| attr.name == "transB" && attr.i != 0);
                let length = usize::try_from(if transposed { second } else { first }).unwrap_or(0);
                row_lengths.insert(rows.as_str(), length);
            }
        }
        let inputs = graph.input.iter().filter(|input| !weights.contains_key(&input.name));
        let inputs: Vec<&ValueInfoProto> = inputs.collect();
        let image = image(&inputs)?;
        let mut translation = Self {
            values: HashMap::new(),
            taken,
            row_lengths,
            size: image.size,
            opset,
            builder: Builder::default(),
            left_out: BTreeMap::new(),
            refusal: None,
        };
        let name = image.input.name.clone();
        let id =
            translation.builder.push(Node { name, op: Op::Input { channels: 3 }, inputs: Vec::new() })?;
        for input in inputs {
            let second =
                || format!("the input \"{}\" is a second one, whose value is not in the file", input.name);
            let is_image = input.name == image.input.name;
            let value =
                if is_image { Value::Layer { id, nhwc: image.nhwc } } else { Value::Opaque(second().into()) };
            translation.values.insert(&input.name, value);
        }
        // Only those that something reads are of interest.
        for name in nodes.iter().flat_map(|node| &node.input) {
            if let Some(tensor) = weights.get(name) {
                let value = || Value::Constant(Constant::Raw(Arc::clone(tensor)));
                translation.values.entry(name).or_insert_with(value);
            }
        }
        Ok(translation)
    }

    /// Translates one node.
    ///
    /// # Errors
    /// What the rest of the file does not survive: weights beyond the budget, a value that two nodes give.
    fn node(&mut self, node: &'a NodeProto, budget: &mut Budget) -> Result<(), ImportError> {
        let name = name_of(node);
        let value = if name.is_empty() { Ok(nothing()) } else { self.value(node, budget) };
        let value = match value {
            Ok(value) => value,
            Err(error) if budget.is_exhausted() => return Err(error),
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                self.refusal.get_or_insert(error);
                Value::Opaque(reason)
            }
        };
        if let (Value::Opaque(reason), false) = (&value, name.is_empty()) {
            self.left_out.insert(name.to_owned(), Arc::clone(reason));
        }
        for (index, output) in node.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            let value = match index {
                0 => value.clone(),
                _ => Value::Opaque(format!("\"{output}\" is not the first output of its node").into()),
            };
            if self.values.insert(output, value).is_some() {
                return Err(ImportError::DuplicateName(output.clone()));
            }
        }
        Ok(())
    }

    fn value(&mut self, node: &'a NodeProto, budget: &mut Budget) -> Result<Value, ImportError> {
        let missing = |input: &String| ImportError::MissingInput {
            node: name_of(node).to_owned(),
            input: input.clone(),
        };
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(match self.values.get(input.as_str()) {
                _ if input.is_empty() => None,
                Some(opaque @ Value::Opaque(_)) => return Ok(opaque.clone()),
                Some(value) => Some(value.clone()),
                None => return Err(missing(input)),
            });
        }
        if !is_standard(&node.domain) {
            let op = format!("{}.{}", node.domain, node.op_type);
            return Err(ImportError::UnknownOp { node: name_of(node).to_owned(), op });
        }
        onnx_ops::translate(&mut Call {
            node,
            name: name_of(node),
            inputs,
            opset: self.opset,
            row_length: self.row_lengths.get(name_of(node)).copied(),
            size: self.size,
            taken: &self.taken,
            builder: &mut self.builder,
            budget,
        })
    }

    fn finish(self, budget: &mut Budget) -> Result<Network, ImportError> {
        let Self { builder, left_out, refusal, .. } = self;
        let only_image = builder.nodes().iter().all(|node| matches!(node.op, Op::Input { .. }));
        match refusal.filter(|_| only_image) {
            Some(refusal) => Err(refusal),
            None => Ok(batch_norm::build(builder, left_out, 1, budget)?),
        }
    }
}

/// Where the image goes in.
struct Image<'a> {
    input: &'a ValueInfoProto,
    /// Whether channels come last.
    nhwc: bool,
    size: Option<[usize; 2]>,
}

/// The input of four dimensions with three channels, or the only input.
fn image<'a>(inputs: &[&'a ValueInfoProto]) -> Result<Image<'a>, ImportError> {
    let described: Vec<(Image<'a>, bool)> = inputs
        .iter()
        .filter_map(|&input| {
            let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
            let of_floats = |kind| {
                matches!(
                    kind,
                    0 | data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 | data_type::DOUBLE
                )
            };
            if tensor.is_some_and(|tensor| !of_floats(tensor.elem_type)) {
                return None;
            }
            let dims = tensor.and_then(|tensor| tensor.shape.as_ref());
            let dims: Option<Vec<i64>> =
                dims.map(|shape| shape.dim.iter().map(|dim| dim.dim_value).collect());
            let (height, width, nhwc, certain) = match dims.as_deref() {
                Some(&[_, 3, height, width]) => (height, width, false, true),
                Some(&[_, height, width, 3]) => (height, width, true, true),
                None | Some(&[_, 0 | -1, _, _]) => (0, 0, false, false),
                _ => return None,
            };
            let size = [height, width].map(|n| usize::try_from(n).unwrap_or(0));
            let size =
                (1..=4096).contains(&size[0]).then_some(size).filter(|size| (1..=4096).contains(&size[1]));
            Some((Image { input, nhwc, size }, certain))
        })
        .collect();
    let certain = described.iter().filter(|(_, certain)| *certain).count();
    let names = || inputs.iter().map(|input| input.name.clone()).collect();
    let mut candidates = described.into_iter().filter(|(_, is_certain)| *is_certain || certain == 0);
    match (candidates.next(), candidates.next()) {
        (Some((image, _)), None) => Ok(image),
        _ => Err(ImportError::Inputs(names())),
    }
}

#[cfg(test)]
mod tests;
