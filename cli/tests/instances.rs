//! The objects of a prediction: found, split, written, and compared with those of masks.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::discs::{SIZE, discs, json, trained_on_discs};
use support::images::npy;
use support::{fail, folder, run, shown, succeed, write};

/// The 16-bit numbers at the end of a file of NumPy.
fn numbers(path: &str) -> Vec<u16> {
    let bytes = fs::read(path).expect("a file");
    let start = bytes.len() - 2 * SIZE[0] * SIZE[1];
    let header = String::from_utf8_lossy(&bytes[..start]);
    assert!(header.contains("'<u2'"), "{header}");
    let pairs = bytes[start..].chunks_exact(2);
    pairs
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

#[test]
fn discs_that_touch_are_split_written_and_compared() {
    let out = folder("instances");
    let [run_folder, data] = trained_on_discs(&out);
    let image = format!("{data}/images/0.npy");
    let predict = |more: &[&str]| {
        let start = [
            "predict",
            "--json",
            "--model",
            &run_folder,
            "--image",
            &image,
        ];
        [&start[..], more]
            .concat()
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let [array, tif, png, picture] =
        ["i.npy", "i.tif", "i.png", "p.png"].map(|name| shown(&out, name));
    let text = succeed(&predict(&["--instances", &array]));
    assert_eq!(json(&text)["instances"], 3, "{text}");
    let found = numbers(&array);
    let at = |y: usize, x: usize| found[y * SIZE[1] + x];
    let middles = [at(14, 10), at(14, 30), at(34, 48), at(40, 5)];
    assert_eq!(middles, [1, 2, 3, 0]);
    let text = succeed(&predict(&["--instances", &array, "--split", "none"]));
    assert_eq!(json(&text)["instances"], 2, "{text}");
    let text = succeed(&predict(&["--instances", &array, "--largest"]));
    assert_eq!(json(&text)["instances"], 1, "{text}");
    let text = succeed(&predict(&["--instances", &array, "--min-distance", "40"]));
    assert_eq!(json(&text)["instances"], 2, "{text}");

    // Other formats hold the same numbers, and the picture shows them.
    succeed(&predict(&[
        "--instances",
        &png,
        "--out",
        &picture,
        "--colours",
        "--labels",
        &array,
    ]));
    let read = image::open(&png).expect("a PNG").into_luma16();
    assert_eq!(read.as_raw()[..], found[..]);
    succeed(&predict(&["--instances", &tif]));
    let classes = image::open(&picture).expect("a picture").into_rgb8();
    let colours: std::collections::BTreeSet<[u8; 3]> =
        classes.pixels().map(|pixel| pixel.0).collect();
    let is_red = |[r, g, b]: &[u8; 3]| r.abs_diff(*g) > 60 || g.abs_diff(*b) > 60;
    assert!(colours.iter().filter(|colour| is_red(colour)).count() > 3);

    // Each number is an object in the masks.
    let text = succeed(&[
        "eval",
        "--json",
        "--instances",
        "--model",
        &run_folder,
        "--data",
        &data,
    ]);
    let all = &json(&text)["instances"];
    assert_eq!(all["split"]["predicted"], 9, "{text}");
    assert_eq!(all["split"]["average_precision"]["0.50"], 1.0, "{text}");
    assert!(
        all["split"]["panoptic_quality"].as_f64().expect("a number") > 0.85,
        "{text}"
    );
    // Of two discs that touch, one region is neither: 1 of 2 + 3 - 1.
    assert_eq!(all["regions"]["average_precision"]["0.50"], 0.25, "{text}");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["instances"]["split"]["truth"], 3);
    let text = succeed(&["eval", "--instances", "--valid", "--model", &run_folder]);
    assert!(
        text.contains("split by distance") && text.contains("connected regions"),
        "{text}"
    );
}

#[test]
fn small_regions_leave_the_mask_too() {
    let out = folder("small_regions");
    let [run_folder, data] = trained_on_discs(&out);
    let image = format!("{data}/images/1.npy");
    let foreground = |more: &[&str]| {
        let mask = shown(&out, "m.png");
        let start = [
            "predict",
            "--json",
            "--model",
            &run_folder,
            "--image",
            &image,
            "--mask",
            &mask,
        ];
        let text = succeed(&[&start[..], more].concat());
        json(&text)["foreground"].as_f64().expect("a share")
    };
    let all = foreground(&[]);
    // The two discs that touch are one region, the largest.
    let largest = foreground(&["--largest"]);
    assert!(
        largest > 0.55 * all && largest < 0.75 * all,
        "{largest} {all}"
    );
    assert_eq!(foreground(&["--min-size", "300"]), largest);
    assert_eq!(foreground(&["--min-size", "3000"]), 0.0);
    assert!(foreground(&["--threshold", "0.9"]) < all);
}

#[test]
fn options_that_change_nothing_are_refused() {
    let out = folder("instance_options");
    let [run_folder, data] = trained_on_discs(&out);
    let image = format!("{data}/images/0.npy");
    let [mask, objects] = ["m.npy", "i.npy"].map(|name| shown(&out, name));
    let predict = |more: &[&str]| {
        let start = ["predict", "--model", &run_folder, "--image", &image];
        fail(&[&start[..], more].concat())
    };
    let text = predict(&["--mask", &mask, "--split", "none"]);
    assert!(
        text.ends_with("--split: it is for instances only. Ask for them with --instances FILE."),
        "{text}"
    );
    let text = predict(&["--instances", &objects, "--split", "inside"]);
    assert!(text.contains("is for a network of three classes"), "{text}");
    let text = predict(&[
        "--instances",
        &objects,
        "--split",
        "none",
        "--min-distance",
        "3",
    ]);
    assert!(
        text.contains("--min-distance is for --split distance only"),
        "{text}"
    );
    let text = predict(&["--instances", &shown(&out, "i.jpg")]);
    assert!(
        text.contains("--instances") && text.contains("a JPEG changes the numbers"),
        "{text}"
    );
    for wrong in ["0", "1", "x"] {
        let start = ["predict", "--model", &run_folder, "--image", &image];
        let output = run(&[&start[..], &["--mask", &mask, "--threshold", wrong]].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    // White squares are no numbers of objects.
    let white: Vec<f32> = discs(0)[1]
        .iter()
        .map(|&number| {
            if number == 1.0 {
                0.0
            } else {
                255.0 * number.min(1.0)
            }
        })
        .collect();
    write(Path::new(&data), "masks/0.npy", npy(&SIZE, &white));
    let eval = [
        "eval",
        "--instances",
        "--model",
        &run_folder,
        "--data",
        &data,
    ];
    succeed(&eval);
    let spots: Vec<f32> = (0..SIZE[0] * SIZE[1])
        .map(|n| if n % 16 < 4 { 255.0 } else { 0.0 })
        .collect();
    write(Path::new(&data), "masks/0.npy", npy(&SIZE, &spots));
    let text = fail(&eval);
    assert!(
        text.contains("has 4 separate regions, and all have the number 255"),
        "{text}"
    );
    // A file beside it has them.
    fs::create_dir(Path::new(&data).join("instances")).expect("a folder");
    write(
        Path::new(&data),
        "instances/0.npy",
        npy(&SIZE, &discs(0)[1]),
    );
    succeed(&eval);
}
