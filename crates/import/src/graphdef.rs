//! The part of TensorFlow's `GraphDef` that frozen graphs need, as protobuf messages written by hand:
//! ninety lines instead of a protobuf compiler and a copy of TensorFlow's schema in the build.
//!
//! Field numbers and enum values come from `tensorflow/core/framework/{graph,node_def,attr_value,tensor,`
//! `tensor_shape,types}.proto`. Fields that are not listed are skipped, as protobuf prescribes.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A graph. `library` (2) and `versions` (4) do not change what the nodes of a frozen graph compute.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GraphDef {
    /// Encoded [`NodeDef`]s. They are decoded one by one: an empty node takes two bytes in the file but
    /// a hundred in memory, and an error in a node can say which one it was.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub node: Vec<Bytes>,
}

/// One operation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeDef {
    /// Unique name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Operation.
    #[prost(string, tag = "2")]
    pub op: String,
    /// `name`, `name:output` or `^name` for a control input.
    #[prost(string, repeated, tag = "3")]
    pub input: Vec<String>,
    /// Attributes; `device` (4) is of no interest.
    #[prost(btree_map = "string, message", tag = "5")]
    pub attr: BTreeMap<String, AttrValue>,
}

/// An attribute.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttrValue {
    /// `None` for the kinds that are not read: functions (10) and their parameters (9).
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub value: Option<Value>,
}

/// What an attribute holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// A list.
    #[prost(message, tag = "1")]
    List(ListValue),
    /// A string.
    #[prost(bytes = "bytes", tag = "2")]
    Text(Bytes),
    /// An integer.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// A float.
    #[prost(float, tag = "4")]
    Float(f32),
    /// A boolean.
    #[prost(bool, tag = "5")]
    Bool(bool),
    /// A data type, see [`DT_FLOAT`].
    #[prost(int32, tag = "6")]
    Type(i32),
    /// A shape.
    #[prost(message, tag = "7")]
    Shape(TensorShapeProto),
    /// A tensor.
    #[prost(message, tag = "8")]
    Tensor(TensorProto),
}

/// A list attribute. Only integers are read; lists of other kinds look empty.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    /// Integers.
    #[prost(int64, repeated, tag = "3")]
    pub ints: Vec<i64>,
}

/// A constant. Values stand either in `tensor_content` or in the list for the type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorProto {
    /// See [`DT_FLOAT`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// Absent means a scalar.
    #[prost(message, optional, tag = "2")]
    pub tensor_shape: Option<TensorShapeProto>,
    /// Row-major, little-endian.
    #[prost(bytes = "bytes", tag = "4")]
    pub tensor_content: Bytes,
    /// `DT_FLOAT`; a single value stands for all.
    #[prost(float, repeated, tag = "5")]
    pub float_val: Vec<f32>,
    /// `DT_INT32`.
    #[prost(int32, repeated, tag = "7")]
    pub int_val: Vec<i32>,
    /// `DT_INT64`.
    #[prost(int64, repeated, tag = "10")]
    pub int64_val: Vec<i64>,
    /// `DT_BOOL`.
    #[prost(bool, repeated, tag = "11")]
    pub bool_val: Vec<bool>,
}

/// A shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorShapeProto {
    /// Dimensions, outermost first.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
    /// Nothing is known, not even the number of dimensions.
    #[prost(bool, tag = "3")]
    pub unknown_rank: bool,
}

/// One dimension.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dim {
    /// Extent; −1 where it is unknown.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// `DataType` of 32-bit floats.
pub const DT_FLOAT: i32 = 1;
/// `DataType` of 32-bit integers.
pub const DT_INT32: i32 = 3;
/// `DataType` of 64-bit integers.
pub const DT_INT64: i32 = 9;

/// `DataType` of booleans.
pub const DT_BOOL: i32 = 10;

/// TensorFlow's name of a `DataType`, for messages.
pub(super) fn type_name(dtype: i32) -> String {
    match dtype {
        0 => "DT_INVALID".into(),
        DT_FLOAT => "DT_FLOAT".into(),
        2 => "DT_DOUBLE".into(),
        DT_INT32 => "DT_INT32".into(),
        4 => "DT_UINT8".into(),
        7 => "DT_STRING".into(),
        DT_INT64 => "DT_INT64".into(),
        DT_BOOL => "DT_BOOL".into(),
        14 => "DT_BFLOAT16".into(),
        19 => "DT_HALF".into(),
        other => format!("data type {other}"),
    }
}
