//! `burn-skip train --augment`, and the picture of what it does.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::images::npy;
use support::{NUCLEI, epochs, fail, folder, program, run, shown, succeed, trained, words, write};

/// Options of a training of a few seconds.
fn training(out: &Path, augment: &str) -> Vec<String> {
    let options = "train --epochs 4 --steps 5 --batch 2 --crop 48 --seed 3 --augment";
    words(options, &[augment, "--out", &out.display().to_string()])
}

fn options(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("training.json")).expect("options");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_training_with_all_transforms_that_is_killed_ends_as_if_it_had_not_been() {
    let whole = folder("augment_whole");
    succeed(&training(&whole, "standard"));
    let expected = epochs(&whole);
    assert_eq!(expected.len(), 4);

    let out = folder("augment_killed");
    let arguments = [training(&out, "standard"), vec!["--resume".into()]].concat();
    for kept in 1..3 {
        let mut child = program()
            .args(&arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        let history = out.join("history.json");
        while child.try_wait().expect("a child").is_none()
            && !(history.is_file() && epochs(&out).len() >= kept)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        child.wait().expect("a child");
    }
    let text = succeed(&arguments);
    assert!(text.contains("continuing after epoch"), "{text}");
    assert_eq!(epochs(&out), expected);

    // Each set is another training, and flips are what a training without the option has.
    let losses = |name: &str, augment: Option<&str>| {
        let out = folder(name);
        let mut arguments = training(&out, augment.unwrap_or("flips"));
        if augment.is_none() {
            arguments.retain(|argument| argument != "--augment" && argument != "flips");
        }
        succeed(&arguments);
        epochs(&out)
    };
    let flips = losses("augment_flips", Some("flips"));
    assert_eq!(flips, losses("augment_default", None));
    let none = losses("augment_none", Some("none"));
    assert!(flips != none && none != expected && flips != expected);
}

#[test]
fn a_list_of_ones_own_is_kept_with_the_training() {
    let out = folder("augment_own");
    let list = json!([
        {"probability": 0.5, "transform": {"Flip": {"axes": ["Width"]}}},
        {"probability": 1, "transform": {"Rotate": {"degrees": [-5, 5]}}},
    ]);
    let file = write(&out, "list.json", list.to_string());
    let model = out.join("run");
    trained(&model, &["--augment", &file]);
    let kept = &options(&model)["augment"];
    assert_eq!(kept[0]["transform"]["Flip"]["axes"], json!(["Width"]));
    assert_eq!(
        kept[1]["transform"]["Rotate"]["degrees"],
        json!([-5.0, 5.0])
    );

    let resume = |augment: &str| {
        let options = "train --quiet --resume --epochs 2 --augment";
        words(options, &[augment, "--out", &model.display().to_string()])
    };
    let text = fail(&resume("none"));
    let differs = "--augment differs from the saved training: asked for none, saved is [{";
    assert!(text.contains(differs), "{text}");
    // The file itself is needed no longer; the same list in another form is the same.
    succeed(&resume(&list.to_string()));
    assert_eq!(epochs(&model).len(), 2);
}

#[test]
fn a_training_of_an_older_version_had_flips() {
    let out = folder("augment_older");
    trained(&out, &[]);
    let mut saved = options(&out);
    let saved = saved.as_object_mut().expect("options");
    saved.remove("augment").expect("it is saved");
    write(&out, "training.json", json!(saved).to_string());
    let resume = |augment: &str| {
        let options = "train --quiet --resume --epochs 2 --augment";
        words(options, &[augment, "--out", &out.display().to_string()])
    };
    let text = fail(&resume("standard"));
    assert!(
        text.contains("asked for standard, saved is flips"),
        "{text}"
    );
    succeed(&resume("flips"));

    let mut edited = options(&out);
    edited["augment"][1]["probability"] = json!(2);
    write(&out, "training.json", edited.to_string());
    let text = fail(&["train", "--resume", "--out", &out.display().to_string()]);
    let error = "augment: Augment.1: probability is 2. Give a number from 0 to 1.";
    assert!(text.contains(error), "{text}");
}

#[test]
fn a_file_that_is_no_list_of_transforms_is_refused() {
    let out = folder("augment_wrong");
    let rotate = |options: &str| {
        format!(r#"[{{"probability": 0.5, "transform": {{"Rotate": {options}}}}}]"#)
    };
    for (text, expected) in [
        (
            rotate(r#"{"degree": [0, 9]}"#),
            "unknown field `degree`, expected `degrees` or `about`",
        ),
        (rotate(r#"{"degree": [0, 9]}"#), "Is `degrees` meant?"),
        (
            rotate(r#"{"degrees": [9, 0]}"#),
            "Augment.0.Rotate: degrees is [9.0, 0.0]. Give the lowest number first.",
        ),
        (
            r#"[{"transform": "Transpose"}]"#.into(),
            "missing field `probability`",
        ),
        (
            r#"[{"probability": 1, "transform": "Transposed"}]"#.into(),
            "Is `Transpose` meant?",
        ),
        ("{}".into(), "invalid type: map, expected a sequence"),
    ] {
        let file = write(&out, "list.json", text);
        let output = run(&["train", "--dry-run", "--augment", &file]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let output = run(&["train", "--dry-run", "--augment", "strong"]);
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = "it is none of none, flips, standard, and there is no such file";
    assert!(text.contains(expected), "{text}");
}

/// The pixels of a picture that have the colour of outlines, in its first column and in the others.
fn outlined(picture: &Path, first: u32) -> [usize; 2] {
    let picture = image::open(picture).expect("a picture").to_rgb8();
    let mut counts = [0; 2];
    for (x, _, pixel) in picture.enumerate_pixels() {
        counts[usize::from(x >= first)] += usize::from(pixel.0 == [255, 150, 0]);
    }
    counts
}

#[test]
fn crops_are_drawn_and_nothing_is_trained() {
    let out = folder("augment_picture");
    let (picture, model) = (shown(&out, "crops.png"), shown(&out, "run"));
    let options = "train --crop 64 --augment standard --show-augmentation";
    let text = succeed(&words(options, &[&picture, "--out", &model]));
    assert_eq!(
        text,
        format!("wrote {picture}: 4 crops, each as it is and transformed in 5 ways\n")
    );
    assert!(!Path::new(&model).exists());
    // Enlarged three times.
    let size = image::image_dimensions(&picture).expect("a picture");
    assert_eq!(size, (8 + 6 * 200, 40 + 4 * 200));
    let [original, others] = outlined(Path::new(&picture), 8 + 200);
    assert!(
        original > 1000 && others > 4 * original,
        "{original} {others}"
    );

    // Without transforms all columns are the first.
    let plain = shown(&out, "plain.png");
    let options = "train --crop 64 --augment none --show-augmentation";
    succeed(&words(options, &[&plain, "--out", &model]));
    assert_eq!(outlined(Path::new(&plain), 208), [original, 5 * original]);

    // A training that is resumed has the transforms that it had.
    trained(Path::new(&model), &["--augment", "none"]);
    let options = "train --resume --show-augmentation";
    succeed(&words(options, &[&picture, "--out", &model]));
    let [original, others] = outlined(Path::new(&picture), 8 + 32 * 6 + 8);
    assert_eq!(others, 5 * original);
}

#[test]
fn volumes_are_drawn_by_their_slice_in_the_middle() {
    let out = folder("augment_volume");
    let data = out.join("data");
    fs::create_dir_all(&data).expect("a folder");
    let size = [12, 24, 40];
    let inside = |n: usize| {
        let [z, y, x] = [n / 960, n / 40 % 24, n % 40].map(|at| at as f32);
        (z - 6.0).powi(2) + (y - 12.0).powi(2) + (x % 20.0 - 10.0).powi(2) < 30.0
    };
    let values = |scale: f32| {
        let values = (0..12 * 960).map(|n| f32::from(u8::from(inside(n))) * scale);
        values.collect::<Vec<f32>>()
    };
    write(&data, "image.npy", npy(&size, &values(0.7)));
    write(&data, "labels.npy", npy(&size, &values(1.0)));
    let picture = shown(&out, "crops.png");
    let options = "train --crop 12x20x20 --augment standard --data";
    let data = data.display().to_string();
    succeed(&words(options, &[&data, "--show-augmentation", &picture]));
    let [original, others] = outlined(Path::new(&picture), 8 + 208);
    assert!(original > 100 && others > 100, "{original} {others}");
}

#[test]
fn a_picture_replaces_no_file_that_is_read() {
    let out = folder("augment_files");
    for name in ["image.png", "labels.png"] {
        fs::copy(Path::new(NUCLEI).join(name), out.join(name)).expect("a copy");
    }
    let data = out.display().to_string();
    let show = |picture: &str| words("train --data", &[&data, "--show-augmentation", picture]);
    let text = fail(&show(&shown(&out, "image.png")));
    assert!(
        text.contains("--show-augmentation") && text.contains("is also read"),
        "{text}"
    );
    let text = fail(&show(&shown(&out, "crops.jpg")));
    assert!(text.contains("should end in .png"), "{text}");
}
