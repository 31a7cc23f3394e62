//! The parts of a render by themselves, with Criterion: the gradient of a tile, what cutting an image into tiles adds,
//! the Laplacian normalisation, random transformations, the resize between octaves, and reading and writing files.
//!
//! ```sh
//! cargo bench --bench parts             # all
//! cargo bench --bench parts -- resize   # one
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::{hint::black_box, io::Cursor, path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::{self, Encoding, Format, InputKind},
};
use reverie_engine::parts::{Gradients, normalize, resize, transform};
use reverie_models as models;
use reverie_picture as picture;
use tch::{Device, Kind, Tensor};

fn image(height: i64, width: i64) -> Tensor {
    Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0
}

fn parts(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&[root.join("models")], REFERENCE_MODEL).unwrap());
    let model = Arc::clone(catalogue.get(REFERENCE_MODEL).unwrap());
    let spec = spec::resolve("", serde_json::json!({}), &catalogue, InputKind::Image).unwrap();
    let gradients = Gradients::new(&model, &spec).unwrap();

    let mut exec = criterion.benchmark_group("exec");
    exec.sample_size(10).measurement_time(Duration::from_secs(10));
    for edge in [256, 512] {
        let tile = image(edge, edge);
        exec.throughput(Throughput::Elements((edge * edge) as u64));
        exec.bench_function(format!("gradient of a tile of {edge}×{edge}"), |bencher| {
            bencher.iter(|| black_box(gradients.of_tile(&tile).unwrap()));
        });
    }
    exec.finish();

    let mut tiles = criterion.benchmark_group("tiles");
    tiles.sample_size(10).measurement_time(Duration::from_secs(10));
    for shift in [(0, 0), (200, 100)] {
        let photo = image(768, 1024);
        tiles.throughput(Throughput::Elements(768 * 1024));
        tiles.bench_function(format!("gradient of 1024×768, moved by {shift:?}"), |bencher| {
            bencher.iter(|| black_box(gradients.of_image(&photo, shift).unwrap()));
        });
    }
    tiles.finish();

    let megapixel = image(1024, 1024);
    let mut lapnorm = criterion.benchmark_group("lapnorm");
    lapnorm.sample_size(20).throughput(Throughput::Elements(1024 * 1024));
    lapnorm.bench_function("1024×1024, 4 levels", |bencher| {
        bencher.iter_batched(
            || megapixel.copy(),
            |gradient| normalize(&gradient, 4).unwrap(),
            criterion::BatchSize::LargeInput,
        );
    });
    lapnorm.finish();

    let mut transformed = criterion.benchmark_group("transformation");
    transformed.sample_size(20).throughput(Throughput::Elements(1024 * 1024));
    for (how, library) in [("kernels", false), ("operations", true)] {
        transformed.bench_function(format!("1024×1024, there and back, {how}"), |bencher| {
            bencher.iter(|| black_box(transform(&megapixel, library).unwrap()));
        });
    }
    transformed.finish();

    let mut resizes = criterion.benchmark_group("resize");
    resizes.sample_size(20).throughput(Throughput::Elements(1024 * 1024));
    resizes.bench_function("731×731 to 1024×1024", |bencher| {
        let smaller = image(731, 731);
        bencher.iter(|| black_box(resize(&smaller, 1024, 1024).unwrap()));
    });
    resizes.bench_function("1024×1024 to 731×731", |bencher| {
        bencher.iter(|| black_box(resize(&megapixel, 731, 731).unwrap()));
    });
    resizes.finish();

    let mut files = criterion.benchmark_group("files");
    files.sample_size(20).throughput(Throughput::Elements(1024 * 1024));
    let photo = image::open(root.join("assets/sample.jpg")).unwrap();
    let photo = photo.resize_exact(1024, 1024, image::imageops::FilterType::CatmullRom);
    let mut file = Cursor::new(Vec::new());
    photo.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    let file = file.into_inner();
    files.bench_function("decode a JPEG of 1024×1024", |bencher| {
        bencher.iter(|| black_box(picture::decode(&file, 1 << 20).unwrap()));
    });
    let decoded = picture::decode(&file, 1 << 20).unwrap();
    for format in [Format::Png, Format::Jpeg, Format::Webp] {
        let encoding = Encoding { format, quality: 92, lossless: false };
        files.bench_function(format!("encode 1024×1024 as {format:?}"), |bencher| {
            bencher.iter(|| black_box(decoded.encode(encoding).unwrap()));
        });
    }
    files.finish();
}

criterion_group!(benches, parts);
criterion_main!(benches);
