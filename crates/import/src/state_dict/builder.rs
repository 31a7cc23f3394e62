//! Builds a network from a state dict: takes weights out of it, layer by layer, until none is left.

use super::{
    super::{ImportError, batch_norm::Affine, strided::gather},
    Weights,
};
use reverie_graph::{Array, Network, Node, NodeId, Op, Padding, Window};

/// How a convolution treats the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Border {
    /// Half a kernel of zeros on each side, so that a stride of one keeps the size.
    Half,
    /// No padding.
    None,
    /// As TensorFlow does it.
    Same,
}

/// Weights that are left, and the nodes so far.
pub(crate) struct Builder {
    weights: Weights,
    graph: reverie_graph::Builder,
    /// Added to variances.
    epsilon: f64,
}

impl Builder {
    /// Begins with the image, whose node is returned. `epsilon` is that of the batch normalisations.
    pub(crate) fn new(weights: Weights, epsilon: f64) -> Result<(Self, NodeId), ImportError> {
        let mut builder = Self { weights, graph: reverie_graph::Builder::default(), epsilon };
        let image = builder.push("input", Op::Input { channels: 3 }, &[])?;
        Ok((builder, image))
    }

    /// The network. Counters, and weights whose keys begin with one of `unused`, may be left.
    pub(crate) fn finish(self, unused: &[&str]) -> Result<Network, ImportError> {
        let is_unused = |key: &String| {
            key.ends_with(".num_batches_tracked") || unused.iter().any(|start| key.starts_with(start))
        };
        let left: Vec<String> = self.weights.into_keys().filter(|key| !is_unused(key)).collect();
        if left.is_empty() { Ok(self.graph.finish()?) } else { Err(ImportError::LeftOver(left)) }
    }

    /// Adds a node.
    pub(crate) fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, ImportError> {
        Ok(self.graph.push(Node { name: name.into(), op, inputs: inputs.to_vec() })?)
    }

    /// Whether a weight is left.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.weights.contains_key(key)
    }

    /// Shape of a weight that is left; empty where it is missing.
    pub(crate) fn shape(&self, key: &str) -> &[usize] {
        self.weights.get(key).map_or(&[], |array| &array.shape)
    }

    /// Number of channels (or features) that a node puts out.
    pub(crate) fn channels(&self, id: NodeId) -> usize {
        self.graph.channels(id)
    }

    /// Takes a weight with so many dimensions.
    fn take(&mut self, key: &str, dimensions: usize) -> Result<Array, ImportError> {
        let refused = |problem| ImportError::Weight { key: key.to_owned(), problem };
        match self.weights.remove(key) {
            None => Err(refused("is missing".into())),
            Some(array) if array.shape.len() != dimensions => {
                Err(refused(format!("has the shape {:?}, needs {dimensions} dimensions", array.shape)))
            }
            Some(array) => Ok(array),
        }
    }

    /// Takes a weight of so many values in one dimension.
    fn list(&mut self, key: &str, length: usize) -> Result<Array, ImportError> {
        let array = self.take(key, 1)?;
        if array.shape == [length] {
            return Ok(array);
        }
        let problem = format!("has the shape {:?}, needs [{length}]", array.shape);
        Err(ImportError::Weight { key: key.to_owned(), problem })
    }

    /// Takes the kernels of a convolution of `input`; with them the groups, which follow from the shape.
    fn kernels(&mut self, key: &str, input: NodeId) -> Result<(Array, usize), ImportError> {
        let key = format!("{key}.weight");
        let array = self.take(&key, 4)?;
        let (channels, inner) = (self.channels(input), array.shape[1]);
        if array.data.is_empty() || channels % inner != 0 {
            let problem = format!("has the shape {:?}, its input {channels} channels", array.shape);
            return Err(ImportError::Weight { key, problem });
        }
        Ok((array, channels / inner))
    }

    /// A convolution, with its bias if it has one.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        input: NodeId,
        stride: usize,
        border: Border,
    ) -> Result<NodeId, ImportError> {
        let (weight, groups) = self.kernels(name, input)?;
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.list(&bias, weight.shape[0])?) } else { None };
        self.push(name, convolution(weight, bias, stride, border, groups), &[input])
    }

    /// A convolution that includes its batch normalisation, `(w·x + own − mean) · gamma / √(var + ε) + beta`: the layer `name`,
    /// with the weights of the keys `conv` and `norm`. Few have a bias of their own.
    pub(crate) fn conv_norm(
        &mut self,
        name: &str,
        [conv, norm]: [&str; 2],
        input: NodeId,
        stride: usize,
        border: Border,
    ) -> Result<NodeId, ImportError> {
        let (weight, groups) = self.kernels(conv, input)?;
        let outer = weight.shape[0];
        let mut statistic = |part: &str| self.list(&format!("{norm}.{part}"), outer);
        let (gamma, beta) = (statistic("weight")?, statistic("bias")?);
        let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
        let own = format!("{conv}.bias");
        let own = if self.has(&own) { Some(self.list(&own, outer)?) } else { None };
        let affine =
            Affine::of_statistics([&*gamma.data, &*beta.data, &*mean.data, &*variance.data], self.epsilon);
        let (weight, bias) = affine.into_convolution(&weight, own.as_ref());
        self.push(name, convolution(weight, Some(bias), stride, border, groups), &[input])
    }

    /// A max-pooling of square windows without padding before the ceiling or the floor is taken.
    pub(crate) fn max_pool(
        &mut self,
        name: &str,
        input: NodeId,
        [kernel, stride, padding]: [usize; 3],
        ceil: bool,
    ) -> Result<NodeId, ImportError> {
        let padding = Padding::Explicit { before: [padding; 2], after: [padding; 2], ceil };
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding };
        self.push(name, Op::MaxPool(window), &[input])
    }

    /// The average of 3×3 values in steps of one, where zeros around the map count.
    pub(crate) fn average(&mut self, name: &str, input: NodeId) -> Result<NodeId, ImportError> {
        let window = Window { kernel: [3; 2], stride: [1; 2], padding: Padding::symmetric([1; 2]) };
        self.push(name, Op::AvgPool { window, count_padding: true }, &[input])
    }

    /// The average of all positions, a linear layer called `name` and the layer `probabilities`.
    pub(crate) fn classifier(&mut self, name: &str, key: &str, input: NodeId) -> Result<(), ImportError> {
        let x = self.push("pool", Op::SpatialMean, &[input])?;
        let refused = |problem| ImportError::Weight { key: format!("{key}.weight"), problem };
        let weight = self.take(&format!("{key}.weight"), 2)?;
        let &[classes, features] = &weight.shape[..] else { return Err(refused("is no matrix".into())) };
        let weight = gather(&weight.data, &[features, classes], &[1, features], 0).map_err(refused)?;
        let bias = self.list(&format!("{key}.bias"), classes)?;
        let x = self.push(format!("{name}/matmul"), Op::MatMul { weight }, &[x])?;
        let x = self.push(name, Op::BiasAdd { bias }, &[x])?;
        self.push("probabilities", Op::Softmax, &[x])?;
        Ok(())
    }

    /// Takes a linear layer that reads a map of `size × size` positions, channel by channel, as a convolution. On larger maps it
    /// then is applied at every position, where a linear layer would not fit.
    pub(crate) fn linear_as_conv(
        &mut self,
        name: &str,
        input: NodeId,
        size: usize,
    ) -> Result<NodeId, ImportError> {
        let key = format!("{name}.weight");
        let mut weight = self.take(&key, 2)?;
        let (outer, inner) = (weight.shape[0], self.channels(input));
        if weight.shape[1] != inner * size * size {
            let problem = format!("has the shape {:?}, needs {} columns", weight.shape, inner * size * size);
            return Err(ImportError::Weight { key, problem });
        }
        weight.shape = vec![outer, inner, size, size];
        let bias = self.list(&format!("{name}.bias"), outer)?;
        self.push(name, convolution(weight, Some(bias), 1, Border::None, 1), &[input])
    }
}

fn convolution(weight: Array, bias: Option<Array>, stride: usize, border: Border, groups: usize) -> Op {
    let padding = match border {
        Border::Half => Padding::symmetric([(weight.shape[2] - 1) / 2, (weight.shape[3] - 1) / 2]),
        Border::None => Padding::Valid,
        Border::Same => Padding::Same,
    };
    Op::Conv2d { weight, bias, stride: [stride; 2], dilation: [1, 1], padding, groups }
}
