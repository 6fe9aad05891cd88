//! Networks that predict together, and folders of images.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::discs::{NET, SIZE, discs, json, trained_on_discs};
use support::images::{Bands, npy, tiff};
use support::{fail, folder, run, shown, succeed, words, write};

#[test]
fn networks_together_are_the_mean_of_each() {
    let out = folder("ensemble");
    let [run_folder, data] = trained_on_discs(&out);
    let image = format!("{data}/images/0.npy");
    let net = write(&out, "net.json", NET);
    let train = |name: &str, net: &str, more: &[&str]| {
        let run = shown(&out, name);
        let train = "train --quiet --epochs 1 --steps 2 --batch 1 --crop 32 --data";
        succeed(&[words(train, &[&data, "--out", &run, net]), words("", more)].concat());
        run
    };
    // It normalises in another way, and is used as it was trained.
    let other = train("other", &net, &["--intensities", "z-score", "--seed", "3"]);
    let maps = |models: &[&String]| {
        let map = shown(&out, "p.npy");
        let mut words = words(
            "predict --quiet --mirror --image",
            &[&image, "--probabilities", &map],
        );
        for model in models {
            words.extend(["--model".into(), model.to_string()]);
        }
        succeed(&words);
        let bytes = fs::read(&map).expect("a file");
        let values = bytes[bytes.len() - 4 * SIZE[0] * SIZE[1]..].chunks_exact(4);
        let values = values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]]));
        values.collect::<Vec<f32>>()
    };
    let alone = maps(&[&run_folder]);
    assert_eq!(maps(&[&run_folder, &run_folder]), alone);
    let beside = maps(&[&other]);
    assert_ne!(beside, alone);
    let together = maps(&[&run_folder, &other]);
    for ((together, a), b) in together.iter().zip(&alone).zip(&beside) {
        assert!(
            (together - (a + b) / 2.0).abs() < 1e-6,
            "{together} {a} {b}"
        );
    }
    let eval = [
        "eval",
        "--json",
        "--model",
        &run_folder,
        "--model",
        &other,
        "--data",
        &data,
    ];
    succeed(&[&eval[..], &["--valid"]].concat());

    let three = write(
        &out,
        "three.json",
        NET.replace("\"out_channels\": 1", "\"out_channels\": 4"),
    );
    let three = train("three", &three, &[]);
    let text = fail(&[
        "predict",
        "--model",
        &run_folder,
        "--model",
        &three,
        "--image",
        &image,
        "--mask",
        "m.npy",
    ]);
    assert!(
        text.contains("three is of 4 classes, and")
            && text.contains("of 1. Networks whose probabilities are averaged"),
        "{text}"
    );
    let fold = train("fold", &net, &["--validation", "fold=1/3"]);
    let text = fail(&["eval", "--valid", "--model", &run_folder, "--model", &fold]);
    assert!(
        text.contains("were validated on different images"),
        "{text}"
    );
}

#[test]
fn a_folder_of_images_is_segmented_into_a_folder() {
    let out = folder("folders");
    let [run_folder, _] = trained_on_discs(&out);
    let images = out.join("images");
    fs::create_dir(&images).expect("a folder");
    let [values, _] = discs(0);
    let whole: Vec<u16> = values.iter().map(|&value| value as u16).collect();
    write(&images, "a.npy", npy(&SIZE, &values));
    write(
        &images,
        "b.tif",
        tiff([48, 64], &[vec![whole.clone()]], Bands::Planes),
    );
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(64, 48, whole)
        .expect("an image")
        .save(images.join("c.png"))
        .expect("a file");
    write(&images, "notes.txt", "no image");
    let (images_path, results) = (images.display().to_string(), shown(&out, "results"));
    let predict = |out_dir: &str, more: &[&str]| {
        let start = [
            "predict",
            "--json",
            "--model",
            &run_folder,
            "--images",
            &images_path,
            "--out-dir",
            out_dir,
        ];
        [&start[..], more]
            .concat()
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let all = ["--write", "mask,probabilities,instances"];
    let text = succeed(&predict(&results, &all));
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(json(&text), serde_json::json!({"images": 3, "failed": 0}));
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["instances"], 3, "{text}");
    // The files are those of single images.
    for (image, mask, map) in [
        ("a.npy", "a.npy", "a.npy"),
        ("b.tif", "b.tif", "b.tif"),
        ("c.png", "c.png", "c.tif"),
    ] {
        let (one, endings) = (shown(&images, image), [mask, map, mask]);
        let files = ["masks", "probabilities", "instances"].iter().zip(endings);
        let files: Vec<_> = files
            .map(|(folder, name)| {
                (
                    Path::new(&results).join(folder).join(name),
                    shown(&out, &format!("{folder}-{name}")),
                )
            })
            .collect();
        let [mask, map, objects] = [0, 1, 2].map(|n| files[n].1.as_str());
        let single = [
            "--mask",
            mask,
            "--probabilities",
            map,
            "--instances",
            objects,
        ];
        let start = [
            "predict",
            "--quiet",
            "--model",
            &run_folder,
            "--image",
            &one,
        ];
        succeed(&[&start[..], &single[..]].concat());
        for (in_folder, alone) in &files {
            assert_eq!(
                fs::read(in_folder).expect("a file"),
                fs::read(alone).expect("a file"),
                "{alone}"
            );
        }
    }

    // The folder of the images, and the one that holds it, are not written to.
    for wrong in [&images_path, &out.display().to_string()] {
        let text = fail(&predict(wrong, &[]));
        assert!(
            text.contains("--out-dir: the images of --images lie in"),
            "{text}"
        );
    }
    assert!(!images.join("masks").exists() && !out.join("masks").exists());
    let output = run(&["predict", "--model", &run_folder, "--images", &images_path]);
    assert_eq!(output.status.code(), Some(2));

    // One bad file is named, and the others are written.
    write(&images, "ab.npy", b"no array");
    let again = shown(&out, "again");
    let output = run(&predict(&again, &[]));
    let [text, error] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("error: 1 of 4 images failed, and the others are written. The first: ")
            && error.contains("ab.npy is not a .npy file"),
        "{error}"
    );
    assert_eq!(json(&text), serde_json::json!({"images": 3, "failed": 1}));
    let written = fs::read_dir(Path::new(&again).join("masks")).expect("a folder");
    assert_eq!(written.count(), 3);
    // Where nothing can be written, it stops.
    fs::remove_file(images.join("ab.npy")).expect("a file");
    let third = shown(&out, "third");
    fs::create_dir_all(Path::new(&third).join("masks/b.tif")).expect("a folder");
    let text = fail(
        &predict(&third, &["--quiet"])[..]
            .iter()
            .filter(|word| *word != "--json")
            .collect::<Vec<_>>(),
    );
    assert!(
        text.contains("b.tif: cannot write") && text.ends_with("Stopped after 1 image."),
        "{text}"
    );
    // Two images of one name are two files only where their formats differ.
    write(&images, "c.jpg", "");
    let text = fail(&predict(&shown(&out, "third"), &[]));
    assert!(
        text.contains("would both be written to") && text.contains("Rename one of them"),
        "{text}"
    );
    let text = fail(&[
        "predict",
        "--model",
        &run_folder,
        "--images",
        &shown(&out, "none"),
        "--out-dir",
        &again,
    ]);
    assert!(
        text.contains("is no folder. Name a folder of images"),
        "{text}"
    );
}
