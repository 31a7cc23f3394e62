//! Dreams that grow only where a mask lets them, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::io::Cursor;

use common::{
    client::{form, problem, quick},
    picture,
    server::TestServer,
};
use reqwest::multipart::Part;
use serde_json::{Value, json};

/// White in the left half.
fn left_half(width: u32, height: u32) -> Vec<u8> {
    let half = |x, _| image::Luma([if x < width / 2 { 255u8 } else { 0 }]);
    let mut file = Cursor::new(Vec::new());
    image::GrayImage::from_fn(width, height, half).write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Largest difference in the columns from `start` on.
fn change(dream: &image::RgbImage, photo: &image::RgbImage, start: u32) -> u8 {
    let pixels = photo.enumerate_pixels().filter(|(x, ..)| (start..start + 30).contains(x));
    let values = pixels.flat_map(|(x, y, pixel)| {
        let dreamed = dream.get_pixel(x, y);
        [0, 1, 2].map(|index| pixel.0[index].abs_diff(dreamed.0[index]))
    });
    values.max().unwrap()
}

#[tokio::test]
async fn a_dream_stays_within_its_mask() {
    let server = TestServer::start().await;
    let photo = picture(96, 80);
    let mut spec = quick();
    spec["mask"] = json!({ "feather": 4 });
    let request =
        form(photo.clone(), &spec).part("mask", Part::bytes(left_half(96, 80)).file_name("mask.png"));
    let response = server.client.post_form(request).await;
    let job: Value = response.json().await.unwrap();
    assert_eq!(job["spec"]["mask"], json!({ "feather": 4 }), "{job}");
    let id = job["id"].as_str().unwrap();
    assert_eq!(server.blobs("masks"), [id]);
    let [dream, photo] = [server.client.dream(id).await.to_vec(), photo]
        .map(|file| image::load_from_memory(&file).unwrap().into_rgb8());
    assert_eq!(change(&dream, &photo, 60), 0);
    assert!(change(&dream, &photo, 0) > 3);
    // The mask goes with the job.
    let erased = server.client.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}")).await;
    assert_eq!(erased.status(), 204);
    assert!(server.blobs("masks").is_empty());
}

#[tokio::test]
async fn masks_that_do_not_fit_are_refused() {
    let server = TestServer::start().await;
    let mask = |file: Vec<u8>| Part::bytes(file).file_name("mask.png");
    let refused = |request| problem_at(&server, request);
    let other_size = form(picture(96, 80), &quick()).part("mask", mask(left_half(80, 96)));
    let told = refused(other_size).await;
    assert!(told.starts_with("/mask") && told.contains("80×96") && told.contains("96×80"), "{told}");
    let no_image = reqwest::multipart::Form::new()
        .text("spec", json!({ "noise": {} }).to_string())
        .part("mask", mask(left_half(224, 224)));
    assert!(refused(no_image).await.starts_with("/mask"));
    let mut spec = quick();
    spec["mask"] = json!({});
    assert!(refused(form(picture(96, 80), &spec)).await.starts_with("/spec/mask"));
    let damaged = left_half(96, 80)[..60].to_vec();
    assert!(refused(form(picture(96, 80), &quick()).part("mask", mask(damaged))).await.starts_with("/mask"));
    assert!(server.blobs("masks").is_empty() && server.blobs("inputs").is_empty());
}

/// Pointer and detail of the one mistake.
async fn problem_at(server: &TestServer, request: reqwest::multipart::Form) -> String {
    let told = problem(server.client.post_form(request).await, 422).await;
    let errors = told["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{told}");
    format!("{}: {}", errors[0]["pointer"].as_str().unwrap(), errors[0]["detail"].as_str().unwrap())
}
