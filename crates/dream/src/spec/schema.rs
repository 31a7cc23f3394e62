//! The spec in the contract: the schemas of requests, made from the tables of parameters, and those of objectives.
//!
//! No schema here has a `default`. To a generator of clients `default` can mean "always there": openapi-typescript
//! makes such members required, openapi-python-client sends them. The descriptions tell the defaults instead.
//!
//! The server takes a little more than the schemas say: `null`, and an empty list of channels or direction, count as absent in
//! objectives of every kind. It takes a little less, too: without a kind, a class, a direction and channels exclude each
//! other, `pick` stands in place of `channels`, `count` goes with `pick`, a weight is not 0, `l2_decay` has a limit that
//! depends on `step`, and a recipe has to fit into its file.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{
            AdditionalProperties, ArrayBuilder, Discriminator, KnownFormat, ObjectBuilder, OneOfBuilder,
            Schema, SchemaFormat, SchemaType, Type,
        },
    },
};

use super::{
    DreamSpec, Objective, ObjectiveKind, Spot, WrittenObjective,
    color::COLOR_PATTERN,
    objective::{MAX_OBJECTIVES, MAX_WEIGHTS},
    parameter::{Parameter, Shape},
    schedule::{MAX_CHANGES, WrittenChange, WrittenPlace},
    values::AUTO,
};
use reverie_fields::choice::{self, Choices, NamedValue};

/// Named schemas, as utoipa collects them.
type Schemas = Vec<(String, RefOr<Schema>)>;

/// What a request says of a dream. Only a name in the contract: requests are read field by field, to find every
/// mistake.
#[derive(Debug, serde::Serialize)]
pub struct SpecRequest;

/// A change of a schedule in a request. Only a name in the contract, as [`SpecRequest`].
#[derive(Debug)]
pub struct ChangeRequest;

/// A change of a dream on its way, in a request. Only a name in the contract, as [`SpecRequest`].
#[derive(Debug, serde::Serialize)]
pub struct SteeringRequest;

/// What a request says of an objective. Only a name in the contract, as [`SpecRequest`].
#[derive(Debug)]
pub struct ObjectiveRequest;

impl PartialSchema for SpecRequest {
    fn schema() -> RefOr<Schema> {
        let about = "The dream spec. Every member is optional; defaults come from the preset and the model.";
        closed(about, DreamSpec::parameters()).into()
    }
}

impl ToSchema for SpecRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        "Spec".into()
    }

    fn schemas(schemas: &mut Schemas) {
        for parameter in DreamSpec::parameters() {
            match parameter.shape {
                Shape::Object { name, members } => {
                    schemas.push((name.into(), closed(parameter.about, members()).into()));
                }
                Shape::Choice { name, about, values } => {
                    schemas.push((name.into(), choice::schema(about, values)));
                }
                Shape::Objectives => {
                    schemas.push((ObjectiveRequest::name().into_owned(), ObjectiveRequest::schema()));
                    ObjectiveRequest::schemas(schemas);
                }
                Shape::Schedule => {
                    schemas.push((ChangeRequest::name().into_owned(), ChangeRequest::schema()));
                }
                _ => {}
            }
        }
    }
}

impl PartialSchema for ChangeRequest {
    fn schema() -> RefOr<Schema> {
        let about = "A change of a dream on its way: what it names holds from its place on. It names one place, later than that \
                     of the change before, and something that changes.";
        let members = WrittenPlace::parameters().iter().chain(WrittenChange::parameters());
        closed(about, members).into()
    }
}

impl ToSchema for ChangeRequest {}

impl PartialSchema for SteeringRequest {
    fn schema() -> RefOr<Schema> {
        let about = "What is to change from the next octave or frame on. What is absent stays.";
        closed(about, WrittenChange::parameters()).min_properties(Some(1)).into()
    }
}

impl ToSchema for SteeringRequest {
    fn schemas(schemas: &mut Schemas) {
        schemas.push((ObjectiveRequest::name().into_owned(), ObjectiveRequest::schema()));
        ObjectiveRequest::schemas(schemas);
    }
}

impl PartialSchema for ObjectiveRequest {
    fn schema() -> RefOr<Schema> {
        let about = "One term of the sum that the dream maximises. With a `kind`, the members of that kind; without \
                     one, the server chooses the kind.";
        let variants = OneOfBuilder::new().description(Some(about));
        let variants = variants.item(Ref::from_schema_name(IMPLIED));
        let kinds = ObjectiveKind::VALUES.iter().map(|value| name(value.name, REQUEST));
        kinds.fold(variants, |variants, name| variants.item(Ref::from_schema_name(name))).into()
    }
}

impl ToSchema for ObjectiveRequest {
    fn schemas(schemas: &mut Schemas) {
        schemas.push((IMPLIED.into(), implied_objective().into()));
        for member in WrittenObjective::parameters().iter().filter(|member| member.name != "kind") {
            match member.shape {
                Shape::Object { name, members } => {
                    schemas.push((name.into(), closed(member.about, members()).into()));
                }
                Shape::Choice { name, about, values } => {
                    schemas.push((name.into(), choice::schema(about, values)));
                }
                _ => {}
            }
        }
        for (&kind, value) in ObjectiveKind::ALL.iter().zip(ObjectiveKind::VALUES) {
            let mut object = closed(value.about.trim(), []);
            for member in members_of(kind) {
                let schema = match member.name {
                    "kind" => one_kind(value),
                    // Without these there would be nothing to dream of.
                    "class" => present(member),
                    "direction" => present(member),
                    _ => optional(member),
                };
                object = object.property(member.name, schema);
            }
            schemas.push((name(value.name, REQUEST), required(object, kind, &["kind"]).into()));
        }
    }
}

impl PartialSchema for Objective {
    fn schema() -> RefOr<Schema> {
        let names = || ObjectiveKind::VALUES.iter().map(|value| (value.name, name(value.name, "")));
        let mapping = names().map(|(kind, name)| (kind, format!("#/components/schemas/{name}")));
        let variants = OneOfBuilder::new()
            .description(Some("One term of the sum that the dream maximises, complete."))
            .discriminator(Some(Discriminator::with_mapping("kind", mapping)));
        names().fold(variants, |variants, (_, name)| variants.item(Ref::from_schema_name(name))).into()
    }
}

impl ToSchema for Objective {
    fn schemas(schemas: &mut Schemas) {
        schemas.push((Spot::name().into_owned(), Spot::schema()));
        for (&kind, value) in ObjectiveKind::ALL.iter().zip(ObjectiveKind::VALUES) {
            let mut object = ObjectBuilder::new().description(Some(value.about.trim()));
            for member in members_of(kind) {
                let schema = match (member.name, member.shape) {
                    ("kind", _) => one_kind(value),
                    // A request's name has become its number.
                    (_, Shape::Class(low, high)) => {
                        let number = ObjectBuilder::new().schema_type(Type::Integer);
                        whole(number.description(Some("The class, counted from 0.")), low, high).into()
                    }
                    // It is complete, too.
                    ("at", _) => {
                        let spot = Ref::builder().ref_location_from_schema_name(Spot::name());
                        spot.description(Some(member.about)).into()
                    }
                    _ => present(member),
                };
                object = object.property(member.name, schema);
            }
            let object = required(object, kind, &["kind", "layer", "weight"]);
            schemas.push((name(value.name, ""), object.into()));
        }
    }
}

/// A whole number as a name.
const WHOLE_PATTERN: &str = "^(0|[1-9][0-9]{0,8})$";

/// End of the names of requests' schemas.
const REQUEST: &str = "Request";

/// Name of the schema of an objective without a kind.
const IMPLIED: &str = "ImpliedObjectiveRequest";

/// Name of the schema of the objectives of one kind: `MeanObjectiveRequest`.
fn name(kind: &str, end: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        format!("{}{rest}", first.to_uppercase())
    };
    format!("{}Objective{end}", kind.split('-').map(capital).collect::<String>())
}

/// The members that objectives of a kind may have: classes are about a class, guides about a whole layer, directions about
/// weights of channels, the others about channels.
fn members_of(kind: ObjectiveKind) -> impl Iterator<Item = &'static Parameter> {
    let own: &[&str] = match kind {
        kind if kind.is_of_class() => &["class"],
        kind if kind.follows_guide() => &[],
        ObjectiveKind::Direction => &["at", "direction", "cosine_power"],
        _ => &["channels", "pick", "count", "at"],
    };
    let has = |name: &str| ["kind", "layer", "weight"].contains(&name) || own.contains(&name);
    WrittenObjective::parameters().iter().filter(move |member| has(member.name))
}

/// `object` with `names` required, and the class or the direction where the kind is about one.
fn required(object: ObjectBuilder, kind: ObjectiveKind, names: &[&str]) -> ObjectBuilder {
    let class = kind.is_of_class().then_some("class");
    let direction = (kind == ObjectiveKind::Direction).then_some("direction");
    names.iter().copied().chain(class).chain(direction).fold(object, ObjectBuilder::required)
}

/// The kind of an objective where it can be but one.
fn one_kind(value: &NamedValue) -> RefOr<Schema> {
    let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value.name]));
    kind.description(Some(value.about.trim())).into()
}

/// An objective without a kind. `null` is as good as none.
fn implied_objective() -> ObjectBuilder {
    let about = "An objective whose kind the server chooses: `class` if a class is given, `direction` if a direction is, \
                 `mean` if channels are or are picked, else `l2`. A class, a direction and channels exclude each other.";
    let none = ObjectBuilder::new().schema_type(Type::Null);
    let none = none.description(Some("None: the server chooses the kind."));
    let members = WrittenObjective::parameters().iter().filter(|member| member.name != "kind");
    closed(about, members).property("kind", none)
}

/// An object of optional parameters and nothing else.
fn closed(about: &str, parameters: impl IntoIterator<Item = &'static Parameter>) -> ObjectBuilder {
    let object = ObjectBuilder::new().description(Some(about));
    let object = object.additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let parameters = parameters.into_iter();
    parameters.fold(object, |object, parameter| object.property(parameter.name, optional(parameter)))
}

/// A parameter that a request may leave out; `null` is as good as absent.
fn optional(parameter: &Parameter) -> RefOr<Schema> {
    let about = match &parameter.default {
        Some(default) => format!("{} Default: {default}.", parameter.about),
        None => parameter.about.to_owned(),
    };
    schema_of(parameter, &about, true)
}

/// A parameter that is there.
fn present(parameter: &Parameter) -> RefOr<Schema> {
    schema_of(parameter, parameter.about, false)
}

fn schema_of(parameter: &Parameter, about: &str, nullable: bool) -> RefOr<Schema> {
    let or_null = |kind: Type| match nullable {
        true => SchemaType::from_iter([kind, Type::Null]),
        false => kind.into(),
    };
    let object = ObjectBuilder::new().description(Some(about));
    let list = ArrayBuilder::new().description(Some(about)).schema_type(or_null(Type::Array));
    match parameter.shape {
        Shape::Flag => object.schema_type(or_null(Type::Boolean)).into(),
        Shape::Name => object.schema_type(or_null(Type::String)).into(),
        Shape::Color => object.schema_type(or_null(Type::String)).pattern(Some(COLOR_PATTERN)).into(),
        Shape::Whole(low, high) => whole(object, low, high).schema_type(or_null(Type::Integer)).into(),
        Shape::Number(low, high) => {
            let object = object.schema_type(or_null(Type::Number)).format(Some(known(KnownFormat::Double)));
            object.minimum(Some(low)).maximum(Some(high)).into()
        }
        Shape::Count(low, high) => {
            let auto = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([AUTO]));
            let auto = auto.description(Some("As many as suit the size of the picture."));
            let count = whole(ObjectBuilder::new(), low, high).schema_type(or_null(Type::Integer));
            OneOfBuilder::new().description(Some(about)).item(count).item(auto).into()
        }
        Shape::Class(low, high) => {
            let number = whole(ObjectBuilder::new(), low, high).schema_type(or_null(Type::Integer));
            let name = ObjectBuilder::new().schema_type(Type::String);
            let name = name.description(Some(
                "As `GET /v1/models/{id}/classes` has it; a part that only one class has is enough.",
            ));
            OneOfBuilder::new().description(Some(about)).item(number).item(name).into()
        }
        Shape::Share => {
            let share = ObjectBuilder::new().schema_type(or_null(Type::Number)).minimum(Some(0.0));
            let flag = ObjectBuilder::new().schema_type(Type::Boolean);
            OneOfBuilder::new().description(Some(about)).item(share.maximum(Some(1.0))).item(flag).into()
        }
        Shape::Wholes(low, high) => {
            list.items(whole(ObjectBuilder::new().schema_type(Type::Integer), low, high)).into()
        }
        Shape::Weights(_, most) => {
            let number =
                ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-most)).maximum(Some(most));
            let names = ObjectBuilder::new().schema_type(Type::String).pattern(Some(WHOLE_PATTERN));
            let object = object.schema_type(or_null(Type::Object)).property_names(Some(names));
            let object = object.additional_properties(Some(number)).min_properties(Some(1));
            object.max_properties(Some(MAX_WEIGHTS)).into()
        }
        Shape::Objectives => {
            let items = Ref::from_schema_name(ObjectiveRequest::name());
            list.items(items).min_items(Some(1)).max_items(Some(MAX_OBJECTIVES)).into()
        }
        Shape::Schedule => {
            list.items(Ref::from_schema_name(ChangeRequest::name())).max_items(Some(MAX_CHANGES)).into()
        }
        Shape::Choice { name, .. } | Shape::Object { name, .. } => {
            let named = Ref::builder().ref_location_from_schema_name(name).description(Some(about));
            if nullable {
                OneOfBuilder::new().item(named).item(ObjectBuilder::new().schema_type(Type::Null)).into()
            } else {
                named.into()
            }
        }
    }
}

/// A whole number in a range.
fn whole(object: ObjectBuilder, low: u64, high: u64) -> ObjectBuilder {
    let format = if i32::try_from(high).is_ok() { KnownFormat::Int32 } else { KnownFormat::Int64 };
    object.format(Some(known(format))).minimum(Some(low)).maximum(Some(high))
}

fn known(format: KnownFormat) -> SchemaFormat {
    SchemaFormat::KnownFormat(format)
}
