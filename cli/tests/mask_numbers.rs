//! What the numbers in masks are taken for, where they are no numbers of classes, or leave some out.

mod support;

use std::fs;
use std::path::Path;

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
    let text = fail(&of(&[0.0, 1.0, 2.0, 255.0]));
    assert!(
        text.contains("the numbers 0, 1, 2, 255.") && text.contains(r#"{"ignore_label": 3}"#),
        "{text}"
    );
    // What the message says is done.
    let replaced = data(&out, &[0.0, 1.0, 2.0, 3.0]);
    succeed(&plan(&out, &replaced));
    let [net, run] = ["plan/net.json", "run"].map(|name| shown(&out, name));
    let loss = r#"{"CrossEntropy": {"ignore_label": 3}}"#;
    let train = "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --out";
    let options = [&run[..], "--data", &replaced, "--loss", loss, &net];
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
