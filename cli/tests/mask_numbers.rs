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
