"""What is sent and what comes back, as openapi.yaml says. Made by clients/generate.py: do not edit."""

from __future__ import annotations

from typing import Literal, Required, TypedDict, Union


class ApiKey(TypedDict, total=False):
    """An API key, without its secret."""

    # When it was made.
    created_at: Required[str]
    # When it stops working by itself.
    expires_at: Required[str | None]
    # The part between the underscores; it is no secret.
    id: Required[str]
    # When it was last used, to the minute.
    last_used_at: Required[str | None]
    # Largest priority of its jobs; `null` if they may have any.
    max_priority: Required[int | None]
    # When it was revoked.
    revoked_at: Required[str | None]
    # What it allows.
    scopes: Required[list[Scope]]
    # Whose jobs it opens.
    tenant: Required[str]


class Change(TypedDict, total=False):
    """A change of a dream, complete."""

    # Frames over which it comes in, the first included; one where there is none.
    fade: int
    # The first frame in which it holds, counted from 1; of animations.
    frame: int
    # How strongly each step draws to grey from there on.
    l2_decay: float
    # What is maximised from there on.
    objectives: list[Objective]
    # The first octave in which it holds, counted from 1; of single pictures.
    octave: int
    # Step length from there on.
    step: float
    # How strongly each step smooths from there on.
    total_variation: float


class ChangeRequest(TypedDict, total=False):
    """A change of a dream on its way: what it names holds from its place on. It names one place, later than that
    of the change before, and something that changes.
    """

    # Of animations: how many frames it takes to come in. Objectives are cross-faded by their weights and
    # numbers go evenly, from what was in force before. 1 if absent: at once.
    fade: int | None
    # The first frame in which the change holds, counted from 1; of animations.
    frame: int | None
    # How strongly each step draws the picture's colours back to grey from there on.
    l2_decay: float | None
    # What to maximise from there on: the sum of these.
    objectives: list[ObjectiveRequest] | None
    # The first octave in which the change holds, counted from 1; of single pictures.
    octave: int | None
    # Step length from there on, in units of the normalised gradient.
    step: float | None
    # How strongly each step smooths the picture from there on.
    total_variation: float | None


class Checks(TypedDict, total=False):
    """What readiness depends on."""

    # False while the server is stopping.
    accepting: Required[bool]
    # Whether the job store answers and accepts writes.
    database: Required[bool]
    # False while models are loading.
    started: Required[bool]
    # Whether the blob store accepts blobs; checked every few seconds by storing and deleting one.
    store: Required[bool]
    # Workers of this process that can take jobs; a worker with a sick device or store cannot. A process
    # that only accepts jobs needs no workers.
    workers: Required[int]


# A class that a network knows.
Class = TypedDict('Class', {'class': 'Required[int]', 'name': 'Required[str | None]'}, total=False)


class ClassList(TypedDict, total=False):
    """The classes of one model."""

    # In the order of the network.
    classes: Required[list[Class]]
    # Id of the model.
    model: Required[str]


# One class of a classifier layer, summed over positions.
ClassObjective = TypedDict('ClassObjective', {'class': 'Required[int]', 'kind': "Required[Literal['class']]", 'layer': 'Required[str]', 'weight': 'Required[float]'}, total=False)


# One class of a classifier layer, summed over positions.
ClassObjectiveRequest = TypedDict('ClassObjectiveRequest', {'class': 'Required[int | str]', 'kind': "Required[Literal['class']]", 'layer': 'str | None', 'weight': 'float | None'}, total=False)


# An sRGB colour, such as `#ff8000`.
Color = str


# How many, or `auto`: as many as suit the size of the picture.
Count = Union['int', "Literal['auto']"]


class CreatedKey(TypedDict, total=False):
    """A key that was just made."""

    # When it was made.
    created_at: Required[str]
    # When it stops working by itself.
    expires_at: Required[str | None]
    # The part between the underscores; it is no secret.
    id: Required[str]
    # The whole key. Only this answer shows it.
    key: Required[str]
    # Largest priority of its jobs; `null` if they may have any.
    max_priority: Required[int | None]
    # What it allows.
    scopes: Required[list[Scope]]
    # Whose jobs it opens.
    tenant: Required[str]


class Delivery(TypedDict, total=False):
    """A message about the end of a job."""

    # The last attempts, oldest first, at most 20.
    attempts: Required[list[DeliveryAttempt]]
    # When the job ended.
    created_at: Required[str]
    # The state that the job ended in. The message's `type` is `job.` and this.
    event: Required[JobState]
    # The `webhook-id`: the same in every attempt.
    id: Required[str]
    # When the next attempt is due, while it is pending.
    next_attempt_at: Required[str | None]
    # Where it stands.
    state: Required[DeliveryState]
    # Where it goes.
    url: Required[str]


class DeliveryAttempt(TypedDict, total=False):
    """One attempt to deliver a message."""

    # When it began.
    at: Required[str]
    # Why there was no answer.
    error: Required[str | None]
    # How long it took.
    milliseconds: Required[int]
    # Status of the receiver's answer.
    status: Required[int | None]


class DeliveryList(TypedDict, total=False):
    """The messages about the end of a job."""

    # One where the job has ended in a state that its webhook is told of, else none.
    deliveries: Required[list[Delivery]]


# Where a delivery stands. - `pending`: It is still to be made, now or at its next attempt. - `delivered`: The
# receiver answered with a status of success. - `failed`: Every attempt failed; it can be replayed. - `gone`:
# The receiver answered 410: it wants no more of it.
DeliveryState = Literal['pending', 'delivered', 'failed', 'gone']


class DirectionObjective(TypedDict, total=False):
    """Activation along a direction of the layer's channels: each position's dot product with it, times a power
    of their cosine, averaged.
    """

    # Counts only near a place of the picture, where a form grows; of objectives of kind `mean`, `l2` and
    # `direction`, in layers that have positions.
    at: Spot
    # How much the form of the activation counts beside its strength, for objectives of kind `direction`:
    # the power of the cosine between the two, 1 if absent. 0 leaves a weighted sum of channels.
    cosine_power: int
    # Weights of at most 256 channels by their numbers, such as `{"21": 1, "43": -0.5}`: the direction of
    # objectives of kind `direction`.
    direction: Required[dict[str, float]]
    # Activation along a direction of the layer's channels: each position's dot product with it, times a
    # power of their cosine, averaged.
    kind: Required[Literal['direction']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: Required[str]
    # Factor in the sum, not 0; negative values minimise.
    weight: Required[float]


class DirectionObjectiveRequest(TypedDict, total=False):
    """Activation along a direction of the layer's channels: each position's dot product with it, times a power
    of their cosine, averaged.
    """

    at: SpotRequest | None
    # How much the form of the activation counts beside its strength, for objectives of kind `direction`:
    # the power of the cosine between the two, 1 if absent. 0 leaves a weighted sum of channels.
    cosine_power: int | None
    # Weights of at most 256 channels by their numbers, such as `{"21": 1, "43": -0.5}`: the direction of
    # objectives of kind `direction`.
    direction: Required[dict[str, float]]
    # Activation along a direction of the layer's channels: each position's dot product with it, times a
    # power of their cosine, averaged.
    kind: Required[Literal['direction']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: str | None
    # Factor in the sum, not 0; negative values minimise. Default: 1.
    weight: float | None


class DreamResult(TypedDict, total=False):
    """A finished dream."""

    # Height in pixels.
    height: Required[int]
    # Media type of the file.
    media_type: Required[str]
    # Objective of the finished dream.
    score: Required[float]
    # SHA-256 digest of the file, lower-case hexadecimal.
    sha256: Required[str]
    # Length of the file in bytes.
    size: Required[int]
    # Width in pixels.
    width: Required[int]


class DreamSpec(TypedDict, total=False):
    """Everything that determines a dream, apart from the input image, its mask, the guide image and the model's
    weights.
    """

    # Sets the result's contrast to a standard. If absent, a start from noise does, since its dream is a
    # faint pattern on grey; not with the preset `feature-visualization`, whose pictures have contrast of
    # their own.
    auto_contrast: bool
    # Colour behind transparent areas: the dream grows on it, and a JPEG shows it. Answers leave it out
    # where it is white.
    background: Color
    # Share of the original image in the result.
    blend: float
    # File format of the result.
    format: Required[Format]
    # Gradient steps per octave. `auto` is 10 in the first four octaves and 6 in each further, larger one.
    iterations: Required[Count]
    # Whether the tiles' origin moves at random in each iteration.
    jitter: Required[bool]
    # Furthest that jitter moves the image in each iteration, in pixels to the right and down. If absent,
    # up to an edge of the largest tile; with the preset `feature-visualization`, 8.
    jitter_pixels: int | None
    # How strongly each step draws the picture's colours back to grey (L2 decay), as a share of the step:
    # keeps a dream from running into black and white. Times `step` it is at most 127.5: with more, a step
    # would go beyond grey.
    l2_decay: float
    # Levels of the Laplacian pyramid, where `normalization` is `laplacian`.
    laplacian_levels: Required[int]
    # Keeps every pixel of a WebP as it is; not for JPEG.
    lossless: bool
    mask: Masking | None
    # Longer edge in pixels to which an image is shrunk before it is dreamed on, if it is larger; 0 keeps
    # its size. An animation has half the default.
    max_edge: int | None
    # Id of a model. The best are `inception5h`, then `efficientnet-lite2`, then `efficientnet-lite0`.
    model: Required[str]
    motion: Motion | None
    noise: Noise | None
    # How the gradient is scaled.
    normalization: Required[Normalization]
    # What to maximise: the sum of these. If absent, `l2` of the model's default layer.
    objectives: Required[list[Objective]]
    # How one octave follows from the one before: `carry-detail` keeps the input's size, `enlarge` grows
    # octave by octave.
    octave_mode: Required[OctaveMode]
    # Ratio of neighbouring scales.
    octave_scale: Required[float]
    # Number of scales. `auto` is as many as leave the smallest octave a shorter edge of about 200 pixels.
    octaves: Required[Count]
    parametrization: Parametrization | None
    # Arithmetic of the network. `auto` is `tf32` on a GPU; on a CPU it is `bf16` where the processor is
    # measured to multiply it much faster, `fp32` elsewhere.
    precision: Required[Precision]
    # Share of the original's colours that comes back; with all of them, only brightness is taken from the
    # dream. If absent, the preset `deepdream-lapnorm` has a share for each model that it is known to
    # suit.
    preserve_colors: Share
    # A named set of defaults, which every other parameter overrides.
    preset: Required[Preset]
    # Quality of a JPEG, a lossy WebP or a video.
    quality: int
    # By how many degrees at the most, in either direction, the network sees the image turned in an
    # iteration, drawn from the seed. If absent, 0; with the preset `feature-visualization`, 5.
    random_rotation: float | None
    # How much larger or smaller at the most, as a share, the network sees the image in each iteration:
    # with 0.1, from 0.9 to 1.1 times, drawn from the seed. If absent, 0; with the preset `feature-
    # visualization`, 0.1.
    random_scale: float | None
    # Whether the result carries the recipe that makes it again (PNG text, XMP).
    recipe: bool
    # Gives the dream of an image that was shrunk the image's own size again, with the image's own detail.
    restore_size: bool
    # Changes of the dream on its way, such as `[{"octave": 3, "objectives": [{"layer": "mixed4c"}]}]`:
    # what they name holds from that octave, or that `frame` of an animation, on. `PATCH /v1/jobs/{id}`
    # adds to it while the dream grows.
    schedule: list[Change]
    # Seed of every random choice (ChaCha8): the same seed gives the same bytes on the same kind of
    # device.
    seed: Required[int]
    # Step length in units of the normalised gradient.
    step: Required[float]
    # Edge of the largest tile in pixels, which bounds the memory; a picture of no more pixels than such a
    # square is one tile.
    tile_size: Required[int]
    # How tiles are laid: `even` covers every pixel, `article` walks as the original article does.
    tiling: Required[Tiling]
    # How strongly each step smooths the picture: total variation, as a share of the step. 0.1 takes some
    # of the grain out of a dream, 0.5 leaves smooth forms.
    total_variation: float


class DryRun(TypedDict, total=False):
    """What a submission would be, had it been sent to `/v1/jobs`."""

    # Whether it would be accepted now.
    accepted: Required[bool]
    # Estimated seconds until the end, at that position.
    eta_seconds: Required[float]
    # Pixels × gradient steps over all octaves, in millions.
    megapixel_iterations: Required[float]
    # Predicted peak memory.
    predicted_memory_mb: Required[float]
    # Predicted seconds from the start of an attempt to its end.
    predicted_seconds: Required[float]
    # Position in the queue that it would have now, starting at 1.
    queue_position: Required[int]
    refusal: Required[Problem | None]
    # The spec, with all defaults filled in.
    spec: Required[DreamSpec]


class FieldError(TypedDict, total=False):
    """One thing that is wrong with a JSON document."""

    # What was wrong and what is allowed.
    detail: Required[str]
    # JSON pointer (RFC 6901) to the value at fault.
    pointer: Required[str]


class ForkRequest(TypedDict, total=False):
    """A job, and what of its dream stays. One of `octave` and `frame` is needed."""

    # Of animations: how many frames it takes the change to come in. 1 if absent: at once.
    fade: int
    # The last frame that stays, counted from 1. Of animations.
    frame: int
    # Id of the job, in any state, as long as its pictures are kept.
    job: Required[str]
    # The last octave that stays, counted from 1: a finished one, and not the dream's last. Of single
    # pictures.
    octave: int


# File format of a result. - `png`: Lossless; an animation as APNG. - `jpeg`: Smaller, with a quality; has no
# transparency and no animations. - `webp`: Smaller than both, with a quality, or lossless. - `gif`: For
# animations that have to play everywhere: at most 256 colours in a frame, and no transparency. - `mp4`: H.264
# video, for animations that are shared; where the server has `ffmpeg`. - `webm`: VP9 video, for animations in
# web pages; where the server has `ffmpeg`.
Format = Literal['png', 'jpeg', 'webp', 'gif', 'mp4', 'webm']


class FormatInfo(TypedDict, total=False):
    """What there is to know of a format before a file is asked for."""

    # Whether it holds animations: a spec with `motion`.
    animation: Required[bool]
    # Whether it can be written here.
    available: Required[bool]
    # What it is good for.
    description: Required[str]
    # Usual ending of a file's name, without the dot.
    extension: Required[str]
    # Media type of its files.
    media_type: Required[str]
    # Value for `spec.format`.
    name: Required[Format]
    # Why it cannot, in words; `null` where it can.
    reason: Required[str | None]
    # Whether it holds single pictures.
    still: Required[bool]


class FormatList(TypedDict, total=False):
    """The formats of dreams."""

    # The default first.
    formats: Required[list[FormatInfo]]


class GuideCosineObjective(TypedDict, total=False):
    """As `guide`, with every position of the guide at length 1: the nearest by direction is followed, not the
    strongest.
    """

    # As `guide`, with every position of the guide at length 1: the nearest by direction is followed, not
    # the strongest.
    kind: Required[Literal['guide-cosine']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: Required[str]
    # Factor in the sum, not 0; negative values minimise.
    weight: Required[float]


class GuideCosineObjectiveRequest(TypedDict, total=False):
    """As `guide`, with every position of the guide at length 1: the nearest by direction is followed, not the
    strongest.
    """

    # As `guide`, with every position of the guide at length 1: the nearest by direction is followed, not
    # the strongest.
    kind: Required[Literal['guide-cosine']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: str | None
    # Factor in the sum, not 0; negative values minimise. Default: 1.
    weight: float | None


class GuideObjective(TypedDict, total=False):
    """Likeness to the guide image: each position's dot product with the position of the guide where that is
    largest, averaged over the layer.
    """

    # Likeness to the guide image: each position's dot product with the position of the guide where that
    # is largest, averaged over the layer.
    kind: Required[Literal['guide']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: Required[str]
    # Factor in the sum, not 0; negative values minimise.
    weight: Required[float]


class GuideObjectiveRequest(TypedDict, total=False):
    """Likeness to the guide image: each position's dot product with the position of the guide where that is
    largest, averaged over the layer.
    """

    # Likeness to the guide image: each position's dot product with the position of the guide where that
    # is largest, averaged over the layer.
    kind: Required[Literal['guide']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: str | None
    # Factor in the sum, not 0; negative values minimise. Default: 1.
    weight: float | None


class Health(TypedDict, total=False):
    """The process is alive."""

    # `ok`
    status: Required[str]
    # Version of the program.
    version: Required[str]


# An objective whose kind the server chooses: `class` if a class is given, `direction` if a direction is,
# `mean` if channels are or are picked, else `l2`. A class, a direction and channels exclude each other.
ImpliedObjectiveRequest = TypedDict('ImpliedObjectiveRequest', {'at': 'SpotRequest | None', 'channels': 'list[int] | None', 'class': 'int | None | str', 'cosine_power': 'int | None', 'count': 'int | None', 'direction': 'dict[str, float] | None', 'kind': 'None', 'layer': 'str | None', 'pick': 'Pick | None', 'weight': 'float | None'}, total=False)


class Job(TypedDict, total=False):
    """A job. Members that are `null` are not known (yet)."""

    # Number of attempts started.
    attempt: Required[int]
    # Whether a client asked to cancel the job.
    cancel_requested: Required[bool]
    # When it was accepted.
    created_at: Required[str]
    # When it expires.
    deadline_at: Required[str | None]
    error: Required[Problem | None]
    # Estimated seconds until the end.
    eta_seconds: Required[float | None]
    # When it ended.
    finished_at: Required[str | None]
    # A UUIDv7: ids sort by creation time.
    id: Required[str]
    # Links to related resources.
    links: Required[Links]
    # Time and cost of the job.
    metrics: Required[Metrics]
    # Notes about the finished dream, one sentence each. For example, that fewer octaves fitted than
    # requested, or that nothing changed and why.
    notes: Required[list[str]]
    # Whether a client asked to pause the job, and it has not stopped yet.
    pause_requested: Required[bool]
    # As requested. Workers take jobs by priority plus minutes waited.
    priority: Required[int]
    progress: Required[Progress | None]
    # Position in the queue, starting at 1; only while queued.
    queue_position: Required[int | None]
    result: Required[DreamResult | None]
    # The spec, with all defaults filled in.
    spec: Required[DreamSpec]
    # When the last attempt started.
    started_at: Required[str | None]
    # Current state.
    status: Required[JobState]
    steering: Required[Change | None]


class JobCounts(TypedDict, total=False):
    """Jobs by state."""

    # Ended by a client or an operator.
    canceled: Required[int]
    # Not finished before their deadline.
    expired: Required[int]
    # Ended with an error.
    failed: Required[int]
    # Taken out of the queue by a client.
    paused: Required[int]
    # Waiting.
    queued: Required[int]
    # At work.
    running: Required[int]
    # Ended with a dream.
    succeeded: Required[int]


# Names of events. - `progress`: The job is queued or running. - `preview`: An octave is finished: there is a
# new preview. - `paused`: The job is paused. - `succeeded`: The dream is finished. - `failed`: The job failed
# without a dream. - `canceled`: A client canceled the job, and it stopped. - `expired`: Its deadline passed
# before it was done.
JobEventName = Literal['progress', 'preview', 'paused', 'succeeded', 'failed', 'canceled', 'expired']


class JobList(TypedDict, total=False):
    """A page of jobs."""

    # Newest first.
    jobs: Required[list[Job]]
    # Links to other pages.
    links: Required[PageLinks]


# Where a job stands. - `queued`: Waits for a worker. - `running`: A worker holds its lease. - `paused`: A
# client paused it: it waits until it is resumed. - `succeeded`: The dream is there. - `failed`: There will be
# no dream; the job's error says why. - `canceled`: A client canceled it, and it stopped. - `expired`: Its
# deadline passed before it was done.
JobState = Literal['queued', 'running', 'paused', 'succeeded', 'failed', 'canceled', 'expired']


class KeyList(TypedDict, total=False):
    """API keys."""

    # Newest first, at most 1000.
    keys: Required[list[ApiKey]]


class KeyRequest(TypedDict, total=False):
    """A request for an API key."""

    # Seconds until it expires; if absent, it does not.
    expires_in_seconds: int | None
    # Largest priority of its jobs; if absent, they may have any.
    max_priority: int | None
    # What it allows.
    scopes: Required[list[Scope]]
    # Whose jobs it opens: 1 to 64 lower-case letters, digits, dots, hyphens or underscores, a letter or
    # digit first.
    tenant: Required[str]


class L2Objective(TypedDict, total=False):
    """Mean squared activation."""

    # Counts only near a place of the picture, where a form grows; of objectives of kind `mean`, `l2` and
    # `direction`, in layers that have positions.
    at: Spot
    # The channels of the layer that are measured; all if there are none.
    channels: list[int]
    # How many channels `pick` finds; 1 if absent.
    count: int
    # Mean squared activation.
    kind: Required[Literal['l2']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: Required[str]
    # Measures channels that the picture or chance decides: its strongest or weakest, or random ones. A
    # note of the result names them. Of objectives of kind `mean` and `l2`, in place of `channels`.
    pick: Pick
    # Factor in the sum, not 0; negative values minimise.
    weight: Required[float]


class L2ObjectiveRequest(TypedDict, total=False):
    """Mean squared activation."""

    at: SpotRequest | None
    # The channels of the layer that are measured; all if there are none.
    channels: list[int] | None
    # How many channels `pick` finds; 1 if absent.
    count: int | None
    # Mean squared activation.
    kind: Required[Literal['l2']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: str | None
    pick: Pick | None
    # Factor in the sum, not 0; negative values minimise. Default: 1.
    weight: float | None


class Layer(TypedDict, total=False):
    """What the API and the command line tell about a layer."""

    # Number of channels (or features).
    channels: Required[int]
    # Operation, see `Op::kind`.
    kind: Required[str]
    # Name to use in an objective.
    name: Required[str]
    # Image pixels that one position sees along an axis; `null` where it sees the whole image.
    receptive_field: Required[int | None]
    # Image pixels between neighbouring positions; `null` where the layer has no positions.
    stride: Required[int | None]


class LayerList(TypedDict, total=False):
    """The layers of one model."""

    # From the image to the end of the network.
    layers: Required[list[Layer]]
    # Id of the model.
    model: Required[str]


class LinkRequest(TypedDict, total=False):
    """A request for signed links."""

    # Seconds for which they work; an hour if absent.
    expires_in_seconds: int | None


class Links(TypedDict, total=False):
    """Paths, or absolute URLs if the server is configured so; `null` if there is nothing (yet)."""

    # The URL to cancel the job, while it is unfinished.
    cancel: Required[str | None]
    # The event stream of the job.
    events: Required[str]
    # The image that the job was submitted with; `null` for a dream of noise, and once the job's pictures
    # are no longer kept.
    input: Required[str | None]
    # The URL to pause the job, while it is queued or running.
    pause: Required[str | None]
    # The dream so far, while the job is unfinished: a picture that changes about once a second; `null`
    # before the first.
    preview: Required[str | None]
    # The result, once it exists.
    result: Required[str | None]
    # The URL to resume the job, while it is paused or about to be.
    resume: Required[str | None]
    # The job.
    self: Required[str]
    # A small picture of what there is of the job; `null` once its pictures are no longer kept.
    thumbnail: Required[str | None]


class Look(TypedDict, total=False):
    """A look of a model."""

    # What is seen in its dreams.
    description: Required[str]
    # Value for `spec.look`.
    id: Required[str]
    # Id of the model that it belongs to.
    model: Required[str]
    # A small picture that shows it; `null` without the Studio.
    picture: Required[str | None]
    # What it stands for: each of these members that a request does not have itself.
    spec: Required[Spec]
    # What it is called.
    title: Required[str]


class LookList(TypedDict, total=False):
    """The looks of the models."""

    # Sorted by model; the usual look of each first.
    looks: Required[list[Look]]


class Masking(TypedDict, total=False):
    """How a mask, an image that came beside the input, is used: the dream grows where it is white."""

    # Width in pixels over which the edges of the mask are softened; 0 leaves them as they are.
    feather: Required[int]


class MaskingRequest(TypedDict, total=False):
    """How the mask is used, if one is sent: an image as large as the input, white where the dream may grow."""

    # Width in pixels over which the edges of the mask are softened; 0 leaves them as they are. Default:
    # 16.
    feather: int | None


class MeanObjective(TypedDict, total=False):
    """Mean activation."""

    # Counts only near a place of the picture, where a form grows; of objectives of kind `mean`, `l2` and
    # `direction`, in layers that have positions.
    at: Spot
    # The channels of the layer that are measured; all if there are none.
    channels: list[int]
    # How many channels `pick` finds; 1 if absent.
    count: int
    # Mean activation.
    kind: Required[Literal['mean']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: Required[str]
    # Measures channels that the picture or chance decides: its strongest or weakest, or random ones. A
    # note of the result names them. Of objectives of kind `mean` and `l2`, in place of `channels`.
    pick: Pick
    # Factor in the sum, not 0; negative values minimise.
    weight: Required[float]


class MeanObjectiveRequest(TypedDict, total=False):
    """Mean activation."""

    at: SpotRequest | None
    # The channels of the layer that are measured; all if there are none.
    channels: list[int] | None
    # How many channels `pick` finds; 1 if absent.
    count: int | None
    # Mean activation.
    kind: Required[Literal['mean']]
    # The layer that is measured. If absent, the model's default layer, or its layer of classes.
    layer: str | None
    pick: Pick | None
    # Factor in the sum, not 0; negative values minimise. Default: 1.
    weight: float | None


class Metrics(TypedDict, total=False):
    """Time and cost of a job."""

    # Pixels × gradient steps over all octaves, in millions; of a finished dream.
    megapixel_iterations: Required[float | None]
    # Predicted peak memory.
    predicted_memory_mb: Required[float | None]
    # Predicted seconds from the start of an attempt to its end.
    predicted_seconds: Required[float | None]
    # Seconds from acceptance to the start of the last attempt.
    queue_seconds: Required[float | None]
    # Seconds of pure rendering in the last attempt.
    render_seconds: Required[float | None]


class Model(TypedDict, total=False):
    """A network that dreams are made with."""

    # Layer of the logits of a classifier.
    class_layer: Required[str | None]
    # Whether specs without a model use this one.
    default: Required[bool]
    # The layer that a spec without objectives maximises.
    default_layer: Required[str]
    # Description in words.
    description: Required[str]
    # Layers that are worth a first look, from the image to the end of the network; twelve at most.
    featured_layers: Required[list[str]]
    # Value for `spec.model`.
    id: Required[str]
    # Number of layers.
    layers: Required[int]
    # Terms of use in a few words, where they are known.
    licence: Required[str | None]
    # Links to related resources.
    links: Required[ModelLinks]
    # Share of the original's colours in this model's dreams, where a spec of the default preset does not
    # say.
    preserve_colors: Required[float]
    # Digest of the model file.
    sha256: Required[str]


class ModelLinks(TypedDict, total=False):
    """Paths, or absolute URLs if the server is configured so."""

    # Its classes.
    classes: Required[str]
    # Its layers.
    layers: Required[str]
    # Its looks.
    looks: Required[str]
    # The model.
    self: Required[str]


class ModelList(TypedDict, total=False):
    """All models."""

    # Id of the model that specs without a model use.
    default: Required[str]
    # Sorted by id.
    models: Required[list[Model]]
    # Files in the models folder that cannot be used.
    unreadable: Required[list[UnreadableModel]]


class Motion(TypedDict, total=False):
    """How a dream moves: each frame is the one before it, zoomed, turned and shifted a little, and dreamed on.
    The first is the dream of the image.
    """

    # Frames a second.
    fps: Required[int]
    # Frames in all, the first included.
    frames: Required[int]
    # Gradient steps per octave in each frame after the first: enough to keep the dream sharp while it
    # moves. Fewer leave it soft, more make it change faster.
    iterations: Required[int]
    # How the animation is played.
    playback: Required[Playback]
    # Degrees by which the picture turns in each frame, clockwise.
    rotate: Required[float]
    # Pixels by which the picture moves to the right in each frame.
    shift_x: Required[float]
    # Pixels by which the picture moves down in each frame.
    shift_y: Required[float]
    # How many times larger the picture is drawn in each frame than in the one before, about its centre;
    # below 1 it shrinks, and its mirror image comes in at the edges.
    zoom: Required[float]


class MotionRequest(TypedDict, total=False):
    """Makes an animation: the dream is moved a little and dreamed on, frame by frame. Its formats are `webp`,
    `png` (APNG), `gif`, and, where the server has `ffmpeg`, `mp4` and `webm`.
    """

    # Frames a second. Default: 15.
    fps: int | None
    # Frames in all, the first included. Default: 60.
    frames: int | None
    # Gradient steps per octave in each frame after the first: enough to keep the dream sharp while it
    # moves. Fewer leave it soft, more make it change faster. Default: 4.
    iterations: int | None
    playback: Playback | None
    # Degrees by which the picture turns in each frame, clockwise. Default: 0.
    rotate: float | None
    # Pixels by which the picture moves to the right in each frame. Default: 0.
    shift_x: float | None
    # Pixels by which the picture moves down in each frame. Default: 0.
    shift_y: float | None
    # How many times larger the picture is drawn in each frame than in the one before, about its centre;
    # below 1 it shrinks, and its mirror image comes in at the edges. Default: 1.02.
    zoom: float | None


class Noise(TypedDict, total=False):
    """Size of a start from noise: every value is 100 plus a random number below 1."""

    # Height in pixels.
    height: Required[int]
    # Width in pixels.
    width: Required[int]


class NoiseRequest(TypedDict, total=False):
    """Starts from noise of this size instead of an image. Without an image, `naive`, `multiscale`, `lapnorm` and
    `feature-visualization` do so by themselves.
    """

    # Height in pixels. Default: 224.
    height: int | None
    # Width in pixels. Default: 224.
    width: int | None


# How a gradient is scaled before it is added to the image. - `mean-abs`: Divided by its mean magnitude: `g /
# (mean|g| + 1e-7)`. - `std`: Divided by its standard deviation: `g / (std(g) + 1e-8)`. - `laplacian`: Every
# level of a Laplacian pyramid divided by its root mean square.
Normalization = Literal['mean-abs', 'std', 'laplacian']


# One term of the sum that the dream maximises, complete.
Objective = Union['MeanObjective', 'L2Objective', 'ClassObjective', 'ProbabilityObjective', 'GuideObjective', 'GuideCosineObjective', 'DirectionObjective']


# One term of the sum that the dream maximises. With a `kind`, the members of that kind; without one, the
# server chooses the kind.
ObjectiveRequest = Union['ImpliedObjectiveRequest', 'MeanObjectiveRequest', 'L2ObjectiveRequest', 'ClassObjectiveRequest', 'ProbabilityObjectiveRequest', 'GuideObjectiveRequest', 'GuideCosineObjectiveRequest', 'DirectionObjectiveRequest']


# How one octave follows from the one before. - `enlarge`: The input is the smallest octave; each further one
# enlarges the dream by the octave scale, so the result is larger than the input. - `carry-detail`: The input
# is the largest octave: it is shrunk first, and the detail lost on the way is put back octave by octave, so
# the result has the input's size.
OctaveMode = Literal['enlarge', 'carry-detail']


class Operations(TypedDict, total=False):
    """What there is to do, for whom, and who does it."""

    # Predicted seconds that one worker would take for all that is queued or running.
    backlog_seconds: Required[float]
    # Jobs of all tenants by state.
    jobs: Required[JobCounts]
    # When the job was accepted that has waited longest; `null` where none waits.
    oldest_waiting_at: Required[str | None]
    # The tenants that have unfinished jobs or files: those with most waiting jobs first, at most 100.
    tenants: Required[list[TenantLoad]]
    # The workers of each process that has some, as of the last seconds.
    workers: Required[list[WorkerReport]]


class OperationsJobs(TypedDict, total=False):
    """Jobs of all tenants in one state."""

    # At most as many as were asked for.
    jobs: Required[list[TenantJob]]


class PageLinks(TypedDict, total=False):
    """Links to neighbouring pages."""

    # The next page, with older jobs; `null` on the last.
    next: Required[str | None]


# What the steps of a dream move. - `pixels`: The values of pixels, each by itself. - `fourier`: Waves, the
# stronger the longer they are, in decorrelated colours: large forms in natural colours grow. A start from
# noise has such waves and colours, too.
Parametrization = Literal['pixels', 'fourier']


# Which channels an objective measures, where the picture or chance decides. - `strongest`: Those with the
# largest mean activation on the picture, before the dream. - `weakest`: Those with the smallest. - `random`:
# Any, drawn from the seed.
Pick = Literal['strongest', 'weakest', 'random']


# A picture, as a JSON body gives it.
PictureRequest = Union['PictureUri', 'UploadReference']


# A data URI (RFC 2397), or a URL to fetch the picture from.
PictureUri = str


# How an animation is played. - `repeat`: Again and again from the first frame. - `boomerang`: Forth and back,
# again and again: the file holds the frames between the ends twice. - `once`: Once; the last frame stays.
Playback = Literal['repeat', 'boomerang', 'once']


# Arithmetic of the network. - `auto`: `tf32` on a GPU; `bf16` on a CPU that is measured to multiply it much
# faster; `fp32` otherwise. - `fp32`: 32-bit floats: the reference. - `tf32`: GPU only: as `fp32`, with
# convolutions in TF32, which rounds factors to 10 bits of mantissa. A CPU computes it as `fp32`. - `bf16`:
# bfloat16 weights and activations; the image and its gradient stay in 32 bits.
Precision = Literal['auto', 'fp32', 'tf32', 'bf16']


class Prediction(TypedDict, total=False):
    """Predicted cost of a refused job, and the limits."""

    # Of an animation: the most frames that fit at the size of this image; absent if none do.
    frames: int | None
    largest: Size | None
    # Memory limit in megabytes.
    max_memory_mb: Required[int]
    # Limit in seconds; `null` for no limit.
    max_seconds: float | None
    # Predicted memory in megabytes.
    memory_mb: Required[int]
    # Predicted seconds.
    seconds: Required[float]


# A named set of defaults. - `naive`: One scale, the gradient divided by its standard deviation, tiles that
# stay in place. - `multiscale`: A small start that is enlarged octave by octave. - `lapnorm`: As
# `multiscale`, the gradient Laplacian-normalised. - `deepdream`: Octaves with detail carried over, the
# gradient divided by its mean magnitude. - `deepdream-lapnorm`: Octaves with detail carried over, the
# gradient Laplacian-normalised. - `feature-visualization`: For pictures of a class or of channels from noise:
# waves instead of pixels, small random transformations.
Preset = Literal['naive', 'multiscale', 'lapnorm', 'deepdream', 'deepdream-lapnorm', 'feature-visualization']


# As `class`, after a softmax over the classes: against all others.
ProbabilityObjective = TypedDict('ProbabilityObjective', {'class': 'Required[int]', 'kind': "Required[Literal['probability']]", 'layer': 'Required[str]', 'weight': 'Required[float]'}, total=False)


# As `class`, after a softmax over the classes: against all others.
ProbabilityObjectiveRequest = TypedDict('ProbabilityObjectiveRequest', {'class': 'Required[int | str]', 'kind': "Required[Literal['probability']]", 'layer': 'str | None', 'weight': 'float | None'}, total=False)


class Problem(TypedDict, total=False):
    """A problem document (RFC 9457)."""

    # Description of this occurrence.
    detail: Required[str]
    # All errors in the request's content.
    errors: list[FieldError]
    # Path of the request; absent if the problem is part of a job.
    instance: str | None
    prediction: Prediction | None
    # HTTP status; absent if the problem is part of a job.
    status: int | None
    # Title of the kind.
    title: Required[str]
    # Identifies the kind of problem; never changes.
    type: Required[str]


class Progress(TypedDict, total=False):
    """How far a render has come; also the `progress` of a job in the API."""

    # Share of the whole work done, 0 to 1, weighted by the pixels of each octave.
    fraction: Required[float]
    # Frame at work, counted from 1; of animations only.
    frame: int | None
    # Frames of the animation; of animations only.
    frames: int | None
    # Finished gradient steps of this octave.
    iteration: Required[int]
    # Gradient steps per octave.
    iterations: Required[int]
    # Gradient steps per second in this octave.
    iterations_per_second: float
    # Octave at work, counted from 1.
    octave: Required[int]
    # Octaves in this render: fewer than the spec's where the image is small.
    octaves: Required[int]
    # Share of the whole work that an earlier attempt had done, and this one went on after; mostly 0.
    resumed_from: float
    # Objective before the last step: the mean over tiles, weighted by their pixels.
    score: Required[float]


class Readiness(TypedDict, total=False):
    """Whether the server can take requests."""

    # What readiness depends on.
    checks: Required[Checks]
    # `ready` or `not ready`
    status: Required[str]


# What a key allows. - `jobs:read`: Look at the tenant's jobs and fetch their pictures. - `jobs:write`:
# Submit, change, pause, resume, cancel and erase the tenant's jobs. - `admin`: Make, list and revoke the keys
# of every tenant, see the jobs of every tenant and cancel them: the operator's scope. It opens no pictures.
Scope = Literal['jobs:read', 'jobs:write', 'admin']


# A share from 0 to 1. `false` is 0, `true` is 1.
Share = Union['float', 'bool']


class SignedLinks(TypedDict, total=False):
    """Links that work without a key."""

    # Until when they work, if the key is not revoked before.
    expires_at: Required[str]
    # The preview, while the job runs.
    preview: Required[str]
    # The result, once it exists.
    result: Required[str]


class Size(TypedDict, total=False):
    """Size of an image."""

    # Height in pixels.
    height: Required[int]
    # Width in pixels.
    width: Required[int]


class Spec(TypedDict, total=False):
    """The dream spec. Every member is optional; defaults come from the preset and the model."""

    # Sets the result's contrast to a standard. If absent, a start from noise does, since its dream is a
    # faint pattern on grey; not with the preset `feature-visualization`, whose pictures have contrast of
    # their own. Default: false.
    auto_contrast: bool | None
    # Colour behind transparent areas: the dream grows on it, and a JPEG shows it. Answers leave it out
    # where it is white. Default: #ffffff.
    background: str | None
    # Share of the original image in the result. Default: 0.
    blend: float | None
    format: Format | None
    # Gradient steps per octave. `auto` is 10 in the first four octaves and 6 in each further, larger one.
    # Default: auto; naive: 20; multiscale, lapnorm, deepdream: 10; feature-visualization: 60.
    iterations: int | None | Literal['auto']
    # Whether the tiles' origin moves at random in each iteration. Default: true; naive: false.
    jitter: bool | None
    # Furthest that jitter moves the image in each iteration, in pixels to the right and down. If absent,
    # up to an edge of the largest tile; with the preset `feature-visualization`, 8.
    jitter_pixels: int | None
    # How strongly each step draws the picture's colours back to grey (L2 decay), as a share of the step:
    # keeps a dream from running into black and white. Times `step` it is at most 127.5: with more, a step
    # would go beyond grey. Default: 0.
    l2_decay: float | None
    # Levels of the Laplacian pyramid, where `normalization` is `laplacian`. Default: 4.
    laplacian_levels: int | None
    # A look of the model: what it stands for fills in what the request leaves out. `GET /v1/looks` and
    # `reverie looks` list them.
    look: str | None
    # Keeps every pixel of a WebP as it is; not for JPEG. Default: false.
    lossless: bool | None
    mask: MaskingRequest | None
    # Longer edge in pixels to which an image is shrunk before it is dreamed on, if it is larger; 0 keeps
    # its size. An animation has half the default. Default: 1280; naive, multiscale, lapnorm, deepdream,
    # feature-visualization: none.
    max_edge: int | None
    # Id of a model. The best are `inception5h`, then `efficientnet-lite2`, then `efficientnet-lite0`.
    # Default: the best that is there.
    model: str | None
    motion: MotionRequest | None
    noise: NoiseRequest | None
    normalization: Normalization | None
    # What to maximise: the sum of these. If absent, `l2` of the model's default layer.
    objectives: list[ObjectiveRequest] | None
    octave_mode: OctaveMode | None
    # Ratio of neighbouring scales. Default: 1.4.
    octave_scale: float | None
    # Number of scales. `auto` is as many as leave the smallest octave a shorter edge of about 200 pixels.
    # Default: auto; naive: 1; multiscale, lapnorm: 3; deepdream: 4; feature-visualization: 2.
    octaves: int | None | Literal['auto']
    parametrization: Parametrization | None
    precision: Precision | None
    # Share of the original's colours that comes back; with all of them, only brightness is taken from the
    # dream. If absent, the preset `deepdream-lapnorm` has a share for each model that it is known to
    # suit. Default: false.
    preserve_colors: float | None | bool
    preset: Preset | None
    # Quality of a JPEG, a lossy WebP or a video. Default: 92.
    quality: int | None
    # By how many degrees at the most, in either direction, the network sees the image turned in an
    # iteration, drawn from the seed. If absent, 0; with the preset `feature-visualization`, 5.
    random_rotation: float | None
    # How much larger or smaller at the most, as a share, the network sees the image in each iteration:
    # with 0.1, from 0.9 to 1.1 times, drawn from the seed. If absent, 0; with the preset `feature-
    # visualization`, 0.1.
    random_scale: float | None
    # Whether the result carries the recipe that makes it again (PNG text, XMP). Default: true.
    recipe: bool | None
    # Gives the dream of an image that was shrunk the image's own size again, with the image's own detail.
    # Default: false.
    restore_size: bool | None
    # Changes of the dream on its way, such as `[{"octave": 3, "objectives": [{"layer": "mixed4c"}]}]`:
    # what they name holds from that octave, or that `frame` of an animation, on. `PATCH /v1/jobs/{id}`
    # adds to it while the dream grows.
    schedule: list[ChangeRequest] | None
    # Seed of every random choice (ChaCha8): the same seed gives the same bytes on the same kind of
    # device. Default: 0.
    seed: int | None
    # Step length in units of the normalised gradient. Default: 1.5; naive, multiscale, lapnorm: 1.
    step: float | None
    # Edge of the largest tile in pixels, which bounds the memory; a picture of no more pixels than such a
    # square is one tile. Default: 512; naive: 2048.
    tile_size: int | None
    tiling: Tiling | None
    # How strongly each step smooths the picture: total variation, as a share of the step. 0.1 takes some
    # of the grain out of a dream, 0.5 leaves smooth forms. Default: 0.
    total_variation: float | None


class Spot(TypedDict, total=False):
    """A place in the picture, as shares of its size: the objective counts most there, and less with the
    distance.
    """

    # How far it reaches, as a share of the picture's shorter edge: the standard deviation of a Gaussian.
    radius: Required[float]
    # From the left edge, 0, to the right one, 1.
    x: Required[float]
    # From the upper edge, 0, to the lower one, 1.
    y: Required[float]


class SpotRequest(TypedDict, total=False):
    """Counts only near a place of the picture, where a form grows; of objectives of kind `mean`, `l2` and
    `direction`, in layers that have positions.
    """

    # How far it reaches, as a share of the picture's shorter edge: the standard deviation of a Gaussian.
    # Default: 0.1.
    radius: float | None
    # From the left edge, 0, to the right one, 1. Default: 0.5.
    x: float | None
    # From the upper edge, 0, to the lower one, 1. Default: 0.5.
    y: float | None


class SteeringRequest(TypedDict, total=False):
    """What is to change from the next octave or frame on. What is absent stays."""

    # Of animations: how many frames it takes to come in. Objectives are cross-faded by their weights and
    # numbers go evenly, from what was in force before. 1 if absent: at once.
    fade: int | None
    # How strongly each step draws the picture's colours back to grey from there on.
    l2_decay: float | None
    # What to maximise from there on: the sum of these.
    objectives: list[ObjectiveRequest] | None
    # Step length from there on, in units of the normalised gradient.
    step: float | None
    # How strongly each step smooths the picture from there on.
    total_variation: float | None


# A submission as JSON.
SubmitJson = TypedDict('SubmitJson', {'deadline_seconds': 'int | None', 'from': 'ForkRequest | None', 'guide': 'PictureRequest | None', 'image': 'PictureRequest | None', 'mask': 'PictureRequest | None', 'priority': 'int | None', 'spec': 'Spec | None', 'webhook': 'str | None', 'webhook_events': 'list[WebhookEvent] | None'}, total=False)


class TenantJob(TypedDict, total=False):
    """A job, and whose it is."""

    # The job. Its links need a key of its tenant.
    job: Required[Job]
    # The tenant that it belongs to.
    tenant: Required[str]


class TenantLoad(TypedDict, total=False):
    """What a tenant has in the store now."""

    # Jobs that are paused.
    paused: Required[int]
    # Jobs that wait.
    queued: Required[int]
    # Jobs at work.
    running: Required[int]
    # Bytes that its files take.
    stored_bytes: Required[int]
    # Its name.
    tenant: Required[str]


class TilePending(TypedDict, total=False):
    """A tile that is not rendered yet. It is as soon as a worker has no job."""

    # Where it stands in words.
    detail: Required[str]
    # Number of tiles that are wanted, of all models.
    wanted: Required[int]


# How an image is cut into tiles. - `even`: Near-equal tiles no larger than the tile size: every pixel gets a
# gradient in every iteration. - `article`: The article's walk: full tiles, and a remainder of up to half a
# tile is skipped.
Tiling = Literal['even', 'article']


class UnreadableModel(TypedDict, total=False):
    """A file in the models folder that cannot be used."""

    # Its name.
    file: Required[str]
    # What is wrong with it, in words.
    reason: Required[str]


class Upload(TypedDict, total=False):
    """Where a picture can be sent."""

    # Until when it may be sent, and submissions may name it.
    expires_at: Required[str]
    # Headers to send with it.
    headers: Required[dict[str, str]]
    # What a submission names: `{"image": {"upload": ID}}`.
    id: Required[str]
    # Most bytes that the file may have.
    max_bytes: Required[int]
    # The method to send it with.
    method: Required[str]
    # The URL to send the file to, as the body of one request. It works without a key, for whoever has it;
    # but where the server signs no links, a URL of the server needs the key.
    url: Required[str]


class UploadReference(TypedDict, total=False):
    """A picture that was sent ahead with `POST /v1/uploads`."""

    # Id of the upload.
    upload: Required[str]


class UploadRequest(TypedDict, total=False):
    """A request to send a picture ahead."""

    # Length of the file in bytes, or more; at most what a submission may have.
    bytes: Required[int]


class Usage(TypedDict, total=False):
    """What a tenant has used."""

    # Newest first; days on which no job ended are left out.
    days: Required[list[UsageOfDay]]
    # The most bytes that they may take; `null` for no limit.
    max_stored_bytes: Required[int | None]
    # Bytes that the tenant's files take now: inputs, checkpoints, previews and results until they are
    # deleted, and uploads until they expire.
    stored_bytes: Required[int]
    # The tenant of the key.
    tenant: Required[str]


class UsageOfDay(TypedDict, total=False):
    """What a tenant has used on one day. A job counts on the day on which it ended."""

    # The day, in UTC.
    day: Required[str]
    # Jobs that ended.
    jobs: Required[int]
    # Pixels × gradient steps of the dreams, in millions.
    megapixel_iterations: Required[float]
    # Seconds of pure rendering.
    render_seconds: Required[float]
    # Length of the dreams' files in bytes.
    result_bytes: Required[int]
    # Those of them with a dream.
    succeeded: Required[int]


# The ends of a job that a webhook can be told of. - `succeeded`: The dream is finished. - `failed`: The job
# failed without a dream. - `canceled`: A client canceled the job, and it stopped. - `expired`: Its deadline
# passed before it was done.
WebhookEvent = Literal['succeeded', 'failed', 'canceled', 'expired']


class WorkerReport(TypedDict, total=False):
    """The workers of one process."""

    # The device of each, such as `cpu` or `cuda:0`; empty from processes of the version before.
    devices: Required[list[str]]
    # Megabytes of memory that one job may take.
    memory_mb: Required[int]
    # How fast the machine is with each model that it has rendered with.
    speeds: Required[list[WorkerSpeed]]
    # Workers that can take jobs.
    workers: Required[int]


class WorkerSpeed(TypedDict, total=False):
    """How fast a machine is with a model."""

    # Id of the model.
    model: Required[str]
    # Precision of the renders.
    precision: Required[Precision]
    # How many times as long a dream takes as on the machine that predictions are made for.
    relative_time: Required[float]
