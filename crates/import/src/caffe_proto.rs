//! The part of Caffe's `NetParameter` that networks need, as protobuf messages written by hand.
//!
//! Field numbers, defaults and enum values come from `caffe/proto/caffe.proto`. Fields that are not listed are skipped, as
//! protobuf prescribes. Layers and weights are kept as bytes and decoded one by one.

use bytes::Bytes;

/// A file: a network with its weights.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetParameter {
    /// Encoded [`V1Layer`]s: files until 2014.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub layers: Vec<Bytes>,
    /// Names of the input blobs, where no layer gives them.
    #[prost(string, repeated, tag = "3")]
    pub input: Vec<String>,
    /// Encoded [`Layer`]s.
    #[prost(bytes = "bytes", repeated, tag = "100")]
    pub layer: Vec<Bytes>,
}

/// One layer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Layer {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it computes.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// Blobs that it reads.
    #[prost(string, repeated, tag = "3")]
    pub bottom: Vec<String>,
    /// Blobs that it gives; a blob of the same name is replaced.
    #[prost(string, repeated, tag = "4")]
    pub top: Vec<String>,
    /// Encoded [`Blob`]s: weights.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub blobs: Vec<Bytes>,
    /// What is done to images before.
    #[prost(message, optional, tag = "100")]
    pub transform: Option<Transform>,
    /// Of `Concat`.
    #[prost(message, optional, tag = "104")]
    pub concat: Option<Concat>,
    /// Of `Convolution`.
    #[prost(message, optional, tag = "106")]
    pub convolution: Option<Convolution>,
    /// Of `Eltwise`.
    #[prost(message, optional, tag = "110")]
    pub eltwise: Option<Eltwise>,
    /// Of `InnerProduct`.
    #[prost(message, optional, tag = "117")]
    pub inner_product: Option<InnerProduct>,
    /// Of `LRN`.
    #[prost(message, optional, tag = "118")]
    pub lrn: Option<Lrn>,
    /// Of `Pooling`.
    #[prost(message, optional, tag = "121")]
    pub pooling: Option<Pooling>,
    /// Of `Power`.
    #[prost(message, optional, tag = "122")]
    pub power: Option<Power>,
    /// Of `ReLU`.
    #[prost(message, optional, tag = "123")]
    pub relu: Option<Relu>,
    /// Of `BatchNorm`.
    #[prost(message, optional, tag = "139")]
    pub batch_norm: Option<BatchNorm>,
    /// Of `Scale`.
    #[prost(message, optional, tag = "142")]
    pub scale: Option<Scale>,
}

/// One layer, as files had it until 2014.
#[derive(Clone, PartialEq, prost::Message)]
pub struct V1Layer {
    /// Blobs that it reads.
    #[prost(string, repeated, tag = "2")]
    pub bottom: Vec<String>,
    /// Blobs that it gives.
    #[prost(string, repeated, tag = "3")]
    pub top: Vec<String>,
    /// Name.
    #[prost(string, tag = "4")]
    pub name: String,
    /// What it computes, as a number: see [`V1Layer::type_name`].
    #[prost(int32, tag = "5")]
    pub r#type: i32,
    /// Encoded [`Blob`]s: weights.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub blobs: Vec<Bytes>,
    #[prost(message, optional, tag = "9")]
    concat: Option<Concat>,
    #[prost(message, optional, tag = "10")]
    convolution: Option<Convolution>,
    #[prost(message, optional, tag = "17")]
    inner_product: Option<InnerProduct>,
    #[prost(message, optional, tag = "18")]
    lrn: Option<Lrn>,
    #[prost(message, optional, tag = "19")]
    pooling: Option<Pooling>,
    #[prost(message, optional, tag = "21")]
    power: Option<Power>,
    #[prost(message, optional, tag = "24")]
    eltwise: Option<Eltwise>,
    #[prost(message, optional, tag = "30")]
    relu: Option<Relu>,
    #[prost(message, optional, tag = "36")]
    transform: Option<Transform>,
}

impl V1Layer {
    /// The type as today's files write it; the number where it has no meaning here.
    fn type_name(&self) -> String {
        match self.r#type {
            1 => "Accuracy",
            3 => "Concat",
            4 => "Convolution",
            5 => "Data",
            6 => "Dropout",
            8 => "Flatten",
            9 => "HDF5Data",
            12 => "ImageData",
            14 => "InnerProduct",
            15 => "LRN",
            17 => "Pooling",
            18 => "ReLU",
            19 => "Sigmoid",
            20 => "Softmax",
            21 => "SoftmaxWithLoss",
            22 => "Split",
            24 => "WindowData",
            25 => "Eltwise",
            26 => "Power",
            29 => "MemoryData",
            32 => "DummyData",
            36 => "Silence",
            other => return format!("number {other}"),
        }
        .to_owned()
    }
}

impl From<V1Layer> for Layer {
    fn from(old: V1Layer) -> Self {
        let r#type = old.type_name();
        let V1Layer { bottom, top, name, blobs, transform, concat, convolution, .. } = old;
        let V1Layer { eltwise, inner_product, lrn, pooling, power, relu, .. } = old;
        Self {
            name,
            r#type,
            bottom,
            top,
            blobs,
            transform,
            concat,
            convolution,
            eltwise,
            inner_product,
            lrn,
            pooling,
            power,
            relu,
            batch_norm: None,
            scale: None,
        }
    }
}

/// Values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    /// Extents as old files have them: number, channels, height, width.
    #[prost(int32, tag = "1")]
    pub num: i32,
    #[prost(int32, tag = "2")]
    pub channels: i32,
    #[prost(int32, tag = "3")]
    pub height: i32,
    #[prost(int32, tag = "4")]
    pub width: i32,
    /// The values.
    #[prost(float, repeated, tag = "5")]
    pub data: Vec<f32>,
    /// Extents.
    #[prost(message, optional, tag = "7")]
    pub shape: Option<BlobShape>,
}

/// Extents.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BlobShape {
    /// One for each dimension.
    #[prost(int64, repeated, tag = "1")]
    pub dim: Vec<i64>,
}

/// What is done to images before.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Transform {
    /// Multiplied after the mean is subtracted.
    #[prost(float, optional, tag = "1")]
    pub scale: Option<f32>,
    /// Subtracted from blue, green and red; one for all.
    #[prost(float, repeated, packed = "false", tag = "5")]
    pub mean_value: Vec<f32>,
}

/// Of `Concat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Concat {
    #[prost(uint32, optional, tag = "1")]
    pub concat_dim: Option<u32>,
    #[prost(int32, optional, tag = "2")]
    pub axis: Option<i32>,
}

/// Of `Convolution`. Extents are given once, or for height and width.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Convolution {
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub pad: Vec<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "4")]
    pub kernel_size: Vec<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub group: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    pub stride: Vec<u32>,
    #[prost(uint32, optional, tag = "9")]
    pub pad_h: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub pad_w: Option<u32>,
    #[prost(uint32, optional, tag = "11")]
    pub kernel_h: Option<u32>,
    #[prost(uint32, optional, tag = "12")]
    pub kernel_w: Option<u32>,
    #[prost(uint32, optional, tag = "13")]
    pub stride_h: Option<u32>,
    #[prost(uint32, optional, tag = "14")]
    pub stride_w: Option<u32>,
    #[prost(int32, optional, tag = "16")]
    pub axis: Option<i32>,
    #[prost(uint32, repeated, packed = "false", tag = "18")]
    pub dilation: Vec<u32>,
}

/// Of `Eltwise`: 0 multiplies, 1 adds (the default), 2 takes the largest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Eltwise {
    #[prost(int32, optional, tag = "1")]
    pub operation: Option<i32>,
    #[prost(float, repeated, packed = "false", tag = "2")]
    pub coeff: Vec<f32>,
}

/// Of `InnerProduct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InnerProduct {
    #[prost(int32, optional, tag = "5")]
    pub axis: Option<i32>,
    #[prost(bool, optional, tag = "6")]
    pub transpose: Option<bool>,
}

/// Of `LRN`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lrn {
    #[prost(uint32, optional, tag = "1")]
    pub local_size: Option<u32>,
    #[prost(float, optional, tag = "2")]
    pub alpha: Option<f32>,
    #[prost(float, optional, tag = "3")]
    pub beta: Option<f32>,
    /// 0: across channels, the default.
    #[prost(int32, optional, tag = "4")]
    pub norm_region: Option<i32>,
    #[prost(float, optional, tag = "5")]
    pub k: Option<f32>,
}

/// Of `Pooling`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pooling {
    /// 0: the largest (the default), 1: the mean.
    #[prost(int32, optional, tag = "1")]
    pub pool: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub kernel_size: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub stride: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub pad: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub kernel_h: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub kernel_w: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub stride_h: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    pub stride_w: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    pub pad_h: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub pad_w: Option<u32>,
    #[prost(bool, optional, tag = "12")]
    pub global_pooling: Option<bool>,
    /// 0: a last window may reach beyond the padding (the default), 1: not.
    #[prost(int32, optional, tag = "13")]
    pub round_mode: Option<i32>,
}

/// Of `Power`: `(shift + scale · x) ^ power`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Power {
    #[prost(float, optional, tag = "1")]
    pub power: Option<f32>,
    #[prost(float, optional, tag = "2")]
    pub scale: Option<f32>,
    #[prost(float, optional, tag = "3")]
    pub shift: Option<f32>,
}

/// Of `ReLU`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Relu {
    #[prost(float, optional, tag = "1")]
    pub negative_slope: Option<f32>,
}

/// Of `BatchNorm`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchNorm {
    #[prost(float, optional, tag = "3")]
    pub eps: Option<f32>,
}

/// Of `Scale`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Scale {
    #[prost(int32, optional, tag = "1")]
    pub axis: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub num_axes: Option<i32>,
}
