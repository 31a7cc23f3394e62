//! The names of ImageNet's thousand classes, in the order that PyTorch's, Caffe's and EfficientNet's networks have.
//!
//! `imagenet.txt` is the list of torchvision 0.26 (`torchvision/models/_meta.py`, BSD-3-Clause, Copyright (c) Soumith Chintala 2016).

use std::sync::{Arc, LazyLock};

/// Classes of ImageNet's challenge.
const COUNT: usize = 1000;

static IMAGENET: LazyLock<Arc<[String]>> =
    LazyLock::new(|| include_str!("imagenet.txt").lines().map(str::to_owned).collect());

/// ImageNet's names, for a network with as many classes.
pub(super) fn imagenet(classes: usize) -> Option<Arc<[String]>> {
    (classes == COUNT).then(|| Arc::clone(&IMAGENET))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_class_has_a_name_of_its_own() {
        let names = imagenet(1000).unwrap();
        assert_eq!(names.len(), COUNT);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), COUNT);
        let is_clean = |name: &String| !name.is_empty() && name.trim() == name;
        assert!(names.iter().all(is_clean));
        assert_eq!((&*names[0], &*names[291], &*names[999]), ("tench", "lion", "toilet tissue"));
        assert_eq!(imagenet(1008), None);
    }
}
