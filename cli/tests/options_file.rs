//! `train --options`: the options of a training from a file; and what a training and a prediction never lose.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{NUCLEI, epochs, fail, folder, shown, succeed, trained, words, write};

const NET: &str = r#"{"Unet": {"in_channels": 1, "widths": [4, 8], "out_channels": 1}}"#;

#[test]
fn a_file_has_what_the_command_line_does_not_say() {
    let out = folder("options_file");
    let net = write(&out, "net.json", NET);
    let options = r#"{"optimizer": {"AdamW": {"weight_decay": 0.1}}, "clip_norm": 0.5, "crop": [32, 48], "batch": 2,
                      "steps": 2, "epochs": 2}"#;
    let file = write(&out, "train.json", options);
    let run = shown(&out, "run");
    let train = ["--options", &file, "--epochs", "1", "--out", &run];
    succeed(&words("train --quiet", &[&[&net[..]], &train[..]].concat()));
    let text = fs::read_to_string(out.join("run/training.json")).expect("options");
    let saved: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(saved["optimizer"]["AdamW"]["weight_decay"], 0.1);
    assert_eq!(saved["crop"], serde_json::json!([32, 48]));
    assert_eq!([&saved["epochs"], &saved["steps"]], [1, 2]);

    for (text, error) in [
        (r#"{"clip_norm": 0}"#, "clip_norm: 0 is no number above 0"),
        (r#"{"learning_rat": 0.1}"#, "Is `learning_rate` meant?"),
        (r#"{"crop": [0, 8]}"#, "crop: 0 is no whole number from 1"),
    ] {
        let wrong = write(&out, "wrong.json", text);
        let no = shown(&out, "no");
        let text = fail(&words("train", &[&net, "--options", &wrong, "--out", &no]));
        assert!(
            text.contains("wrong.json") && text.contains(error),
            "{text}"
        );
    }
    let resumed = fail(&words("train --resume --optimizer sgd --out", &[&run]));
    let differs = r#"--optimizer differs from the saved training: asked for {"Sgd":"#;
    assert!(resumed.contains(differs), "{resumed}");

    // The command that began it goes on with it, and not with a file that was changed.
    let again = [
        "--options",
        &file,
        "--epochs",
        "2",
        "--out",
        &run,
        "--resume",
    ];
    succeed(&words("train --quiet", &[&[&net[..]], &again[..]].concat()));
    assert_eq!(epochs(Path::new(&run)).len(), 2);
    let other = write(&out, "other.json", options.replace("0.5", "0.75"));
    let again = [
        "--options",
        &other,
        "--epochs",
        "3",
        "--out",
        &run,
        "--resume",
    ];
    let text = fail(&words("train", &[&[&net[..]], &again[..]].concat()));
    assert!(
        text.contains("--clip-norm differs from the saved training: asked for 0.75"),
        "{text}"
    );
}

#[test]
fn the_options_of_another_training_start_a_new_one() {
    let out = folder("options_again");
    let [first, second] = ["first", "second"].map(|name| shown(&out, name));
    let short =
        "train --quiet --epochs 2 --steps 2 --batch 2 --crop 32 --intensities z-score --out";
    succeed(&words(short, &[&first, "--data", NUCLEI]));
    let options = shown(&out, "first/training.json");
    succeed(&["train", "--quiet", "--options", &options, "--out", &second]);
    assert_eq!(epochs(Path::new(&second)), epochs(Path::new(&first)));
}

#[test]
fn paths_in_a_file_are_those_beside_it() {
    let out = folder("options_paths");
    fs::create_dir_all(out.join("cells")).expect("a folder");
    for name in ["image.png", "labels.png"] {
        fs::copy(Path::new(NUCLEI).join(name), out.join("cells").join(name)).expect("a copy");
    }
    let options = r#"{"data": "cells", "steps": 1, "batch": 1, "crop": 32, "epochs": 1}"#;
    let file = write(&out, "train.json", options);
    let run = shown(&out, "run");
    succeed(&["train", "--quiet", "--options", &file, "--out", &run]);
    succeed(&[
        "train", "--quiet", "--resume", "--epochs", "2", "--out", &run,
    ]);
    assert_eq!(epochs(Path::new(&run)).len(), 2);
}

#[test]
fn a_training_without_its_checkpoints_is_not_begun_anew() {
    let out = folder("no_checkpoints");
    trained(&out, &[]);
    let model = fs::read(out.join("model.bpk")).expect("a model");
    fs::remove_dir_all(out.join("checkpoint")).expect("it can be removed");
    let path = out.display().to_string();
    let text = fail(&words("train --resume --epochs 2 --out", &[&path]));
    assert!(text.contains("the checkpoints are gone"), "{text}");
    assert_eq!(fs::read(out.join("model.bpk")).expect("a model"), model);
    assert_eq!(epochs(&out).len(), 1);
    // It can still be used.
    succeed(&["eval", "--quiet", "--model", &path]);
}

#[test]
fn neither_masks_nor_images_are_written_over() {
    let out = folder("not_written_over");
    trained(&out.join("run"), &[]);
    let (run, data) = (shown(&out, "run"), out.join("data"));
    for (part, name) in [("images", "image.png"), ("masks", "labels.png")] {
        fs::create_dir_all(data.join(part)).expect("a folder");
        fs::copy(Path::new(NUCLEI).join(name), data.join(part).join("0.png")).expect("a copy");
    }
    let mask = fs::read(data.join("masks/0.png")).expect("a mask");
    let images = shown(&data, "");
    let text = fail(&[
        "predict",
        "--model",
        &run,
        "--images",
        NUCLEI,
        "--out-dir",
        &images,
    ]);
    assert!(text.contains("whose masks could be overwritten"), "{text}");
    assert_eq!(fs::read(data.join("masks/0.png")).expect("a mask"), mask);
    // A data folder may be named as for training.
    let other = shown(&out, "other");
    succeed(&[
        "predict",
        "--quiet",
        "--model",
        &run,
        "--images",
        &images,
        "--out-dir",
        &other,
    ]);
    assert!(out.join("other/masks/0.png").is_file());

    let inside = shown(&data, "images");
    let text = fail(&words("train --data", &[&images, "--out", &inside]));
    assert!(text.contains("holds the data"), "{text}");
}
