//! What the numbers in masks are taken for, where they are no numbers of classes, or leave some out.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::images::npy;
use support::{fail, folder, shown, succeed, words, write};

const SIDE: usize = 64;

/// A folder of three images, each with a mask of numbers that lie in stripes.
fn data(out: &Path, numbers: &[f32]) -> String {
    let folder = out.join("data");
    let _ = fs::remove_dir_all(&folder);
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    for image in 0..3 {
        let at = |n: usize| numbers[(n / 8 + image) % numbers.len()];
        let mask: Vec<f32> = (0..SIDE * SIDE).map(at).collect();
        let values: Vec<f32> = mask.iter().map(|value| 40.0 * value + 7.0).collect();
        for (part, values) in [("images", &values), ("masks", &mask)] {
            let name = format!("{part}/{image}.npy");
            write(&folder, &name, npy(&[SIDE, SIDE], values));
        }
    }
    folder.display().to_string()
}

fn plan(out: &Path, data: &str) -> Vec<String> {
    let options = "plan-data --overwrite --memory 0.2 --width 4 --out";
    words(options, &[&shown(out, "plan"), data])
}

#[test]
fn a_pixel_that_is_no_number_is_told_of_and_refused_where_there_are_classes() {
    let out = folder("mask_numbers");
    let data = data(&out, &[0.0, 1.0, 2.0, -1.0]);
    let text = succeed(&plan(&out, &data));
    for part in [
        "masks: foreground or not, 75.0 % of the pixels are foreground; this is all that is taken of them, since 3 of 3 have \
         no numbers of classes: ",
        "masks/0.npy: the pixel at column 24, row 0 is -1, which is the number of no class",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = fail(&[plan(&out, &data), words("--classes 3", &[])].concat());
    assert!(
        text.contains("error: --classes: ")
            && text.contains("column 24, row 0 is -1")
            && text.contains("or pass --classes 1 where"),
        "{text}"
    );
    // A training of three classes refuses them, too.
    let net = r#"{"Unet": {"in_channels": 1, "widths": [2], "out_channels": 3}}"#;
    let net = write(&out, "net.json", net);
    let train = ["train", "--out", &shown(&out, "run"), "--data", &data, &net];
    let text = fail(&train);
    assert!(text.contains("is of class -1, and"), "{text}");
}

#[test]
fn numbers_with_a_gap_are_asked_about() {
    let out = folder("mask_gaps");
    let of = |numbers: &[f32]| plan(&out, &data(&out, numbers));
    let text = fail(&of(&[0.0, 1.0, 3.0]));
    assert!(
        text.contains("the numbers 0, 1, 3, which") && text.contains("--classes 4 if they are"),
        "{text}"
    );
    let text = fail(&of(&[0.0, 1.0, 3.0, 255.0]));
    assert!(text.contains("the numbers 0, 1, 3, 255, which"), "{text}");
}

/// Classes 0 to 2, and pixels that do not count.
const WITH_IGNORED: [f32; 4] = [0.0, 1.0, 2.0, 255.0];

/// The IoU of each class in the predictions of the images of [`data`] with [`WITH_IGNORED`], without the pixels of 255.
fn iou_by_hand(out: &Path, run: &str, classes: usize) -> Vec<f64> {
    let (mut both, mut either) = (vec![0; classes.max(2)], vec![0; classes.max(2)]);
    let class = |value: u8| usize::from(if classes == 1 { value.min(1) } else { value });
    for image in 0..3 {
        let [image_file, mask] = [format!("data/images/{image}.npy"), "found.npy".into()];
        let [image_file, mask] = [image_file, mask].map(|name| shown(out, &name));
        succeed(&words(
            "predict --model",
            &[run, "--image", &image_file, "--mask", &mask],
        ));
        let file = fs::read(&mask).expect("a mask");
        let found = &file[file.len() - SIDE * SIDE..];
        for (n, &found) in found.iter().enumerate() {
            let truth = WITH_IGNORED[(n / 8 + image) % 4] as u8;
            if truth == 255 {
                continue;
            }
            let (found, truth) = (class(found), class(truth));
            either[found] += 1;
            either[truth] += usize::from(found != truth);
            both[truth] += usize::from(found == truth);
        }
    }
    let shares = both.iter().zip(&either);
    shares
        .map(|(&b, &e)| f64::from(b as u32) / f64::from(e as u32))
        .collect()
}

/// What `eval` says of all images together.
fn evaluated(run: &str, data: &str) -> Value {
    let text = succeed(&["eval", "--json", "--model", run, "--data", data]);
    let last = text.lines().last().expect("a line");
    serde_json::from_str(last).expect("JSON")
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn pixels_of_the_ignored_label_count_nowhere() {
    let out = folder("mask_ignored");
    let data = data(&out, &WITH_IGNORED);
    let text = succeed(&plan(&out, &data));
    for part in [
        "masks: 3 classes, of the pixels 0: 25.0 %",
        "ignored: 255, which 25.0 % of the pixels have: the loss in train.json ignores it",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let files = ["plan/net.json", "plan/train.json", "run", "crops.png"];
    let [net, options, run, crops] = files.map(|name| shown(&out, name));
    let train = "train --epochs 1 --steps 3 --batch 2 --crop 32 --foreground 0.5 --out";
    let train = words(train, &[&run, "--data", &data, &net]);
    let planned = [train.clone(), words("--options", &[&options])].concat();
    succeed(&[planned.clone(), words("--show-augmentation", &[&crops])].concat());
    succeed(&planned);
    let by_hand = iou_by_hand(&out, &run, 3);
    let found = evaluated(&run, &data);
    for (class, &iou) in by_hand.iter().enumerate() {
        close(&found["class_iou"][class], iou);
    }
    close(&found["iou"], (by_hand[1] + by_hand[2]) / 2.0);
    // A picture of it, and the score of one image.
    let files = ["data/images/0.npy", "data/masks/0.npy", "picture.png"];
    let [image, labels, picture] = files.map(|name| shown(&out, name));
    let options = ["--image", &image, "--labels", &labels, "--out", &picture];
    let text = succeed(&[words("predict --model", &[&run]), words("", &options)].concat());
    assert!(text.contains("IoU by class"), "{text}");

    // Without the loss that ignores them, they are refused, and the remedy is one.
    let over = [train, words("--overwrite", &[])].concat();
    let text = fail(&over);
    assert!(
        text.contains("row 0 is of class 255, and the network has 3 classes (0 to 2)")
            && text.contains(r#"ignore it, and of a sum all its losses: --loss '{"CrossEntropy": {"ignore_label": 255}}'"#),
        "{text}"
    );
    let with = |loss: &str| [over.clone(), words("--loss", &[loss])].concat();
    succeed(&with(r#"{"CrossEntropy": {"ignore_label": 255}}"#));
    let differ = r#"{"Sum": [{"loss": {"CrossEntropy": {"ignore_label": 255}}},
        {"loss": {"Dice": {"mode": "MultiClass", "ignore_label": 0}}}]}"#;
    let text = fail(&with(differ));
    assert!(
        text.contains("--loss: LossSum: its losses ignore different labels, 255 and 0. Give"),
        "{text}"
    );
}

#[test]
fn pixels_of_the_ignored_label_are_no_foreground() {
    let out = folder("mask_ignored_foreground");
    let path = data(&out, &WITH_IGNORED);
    let net = r#"{"Unet": {"in_channels": 1, "widths": [2, 4], "out_channels": 1}}"#;
    let net = write(&out, "net.json", net);
    let run = shown(&out, "run");
    let train = "train --quiet --epochs 1 --steps 3 --batch 2 --crop 32 --overwrite --out";
    let train = |loss: &str| words(train, &[&run, "--data", &path, "--loss", loss, &net]);
    succeed(&train(r#"{"BinaryCrossEntropy": {"ignore_label": 255}}"#));
    close(
        &evaluated(&run, &path)["iou"],
        iou_by_hand(&out, &run, 1)[1],
    );
    let text = fail(&train(r#"{"BinaryCrossEntropy": {"ignore_label": 1}}"#));
    assert!(text.contains("--loss: ignore_label is 1, and"), "{text}");
    // Two classes and 255 are planned for as foreground and 255.
    let path = data(&out, &[0.0, 1.0, 255.0]);
    let text = succeed(&plan(&out, &path));
    assert!(
        text.contains("masks: foreground or not, 33.3 % of")
            && text.contains("ignored: 255, which 33.3 %"),
        "{text}"
    );
    let [net, options] = ["plan/net.json", "plan/train.json"].map(|name| shown(&out, name));
    let train = "train --quiet --epochs 1 --steps 1 --batch 2 --crop 32 --overwrite --out";
    let options = [&run[..], "--data", &path, "--options", &options, &net];
    succeed(&words(train, &options));
}

#[test]
fn grey_and_colours_are_not_mixed_and_a_conversion_is_told_of() {
    let out = folder("mixed_channels");
    let data = data(&out, &[0.0, 1.0]);
    let grey = image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(x * y) as u8]));
    let colours = image::DynamicImage::ImageLuma8(grey.clone()).to_rgb8();
    let images = out.join("data/images");
    for name in ["0.npy", "1.npy", "2.npy"] {
        fs::remove_file(images.join(name)).expect("a file");
    }
    for name in ["0.png", "1.png"] {
        grey.save(images.join(name)).expect("a picture");
    }
    colours.save(images.join("2.png")).expect("a picture");
    // (As macOS leaves it.)
    write(&images, "._0.png", "no picture");
    let net = r#"{"Unet": {"in_channels": 1, "widths": [2], "out_channels": 1}}"#;
    let net = write(&out, "net.json", net);
    let run = shown(&out, "run");
    let train = "train --epochs 1 --steps 1 --batch 1 --crop 32 --out";
    let train = words(train, &[&run, "--data", &data, &net]);
    let text = fail(&train);
    assert!(
        text.contains("images/2.png has 3 channels, and ")
            && text.contains("images/0.png has 1 channel. Use"),
        "{text}"
    );
    fs::remove_file(images.join("2.png")).expect("a file");
    let third = write(&out, "colours.png", "");
    colours.save(&third).expect("a picture");
    let text = succeed(&train);
    assert!(!text.contains("are read as"), "{text}");
    let mask = shown(&out, "m.png");
    let predict = [
        "predict", "--model", &run, "--image", &third, "--mask", &mask,
    ];
    let text = succeed(&predict);
    assert!(
        text.contains("colours.png: colours are read as grey, since the network takes 1 channel"),
        "{text}"
    );
    // Where all of a folder fail, no others are spoken of.
    let broken = out.join("broken");
    fs::create_dir_all(&broken).expect("a folder");
    for name in ["a.png", "b.png"] {
        write(&broken, name, "no picture");
    }
    let [images, to] = ["broken", "masks"].map(|name| shown(&out, name));
    let text = fail(&[
        "predict",
        "--model",
        &run,
        "--images",
        &images,
        "--out-dir",
        &to,
    ]);
    assert!(
        text.contains("nothing is written, since all 2 images failed. The first: "),
        "{text}"
    );
    // A network is no picture.
    let text = fail(&["train", &third]);
    assert!(text.contains("colours.png is no text, and"), "{text}");
}
