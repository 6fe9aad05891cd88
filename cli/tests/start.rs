//! What a training starts from, how its weights follow the gradients, and which epoch is kept.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{NUCLEI, epochs, fail, folder, shown, succeed, words, write};

const NET: &str = r#"{"Unet": {"in_channels": 1, "widths": [4, 8], "out_channels": 1}}"#;
const SHORT: &str = "train --quiet --epochs 2 --steps 2 --batch 2 --crop 32 --out";

/// The values of the tensors whose names begin so, in a file of weights.
fn tensors(file: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(file).expect("a file");
    let all = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let named = all.iter().filter(|(name, _)| name.starts_with(prefix));
    let mut found: Vec<_> = named
        .map(|(name, tensor)| (name.to_string(), tensor.data().to_vec()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{file} has no {prefix}");
    found
}

fn exported(run: &str, out: &Path, name: &str) -> String {
    let file = shown(out, name);
    succeed(&["export", "--model", run, "--out", &file]);
    file
}

#[test]
fn a_frozen_encoder_stays_and_the_decoder_learns() {
    let out = folder("frozen");
    let net = write(&out, "net.json", NET);
    let first = shown(&out, "first");
    succeed(&words(SHORT, &[&first, &net]));
    let weights = exported(&first, &out, "first.safetensors");

    let second = shown(&out, "second");
    let more = [
        &second[..],
        &net,
        "--weights",
        &weights,
        "--freeze",
        "encoder",
        "--overwrite",
    ];
    let text = succeed(&words(&SHORT.replace("--quiet", ""), &more));
    assert!(
        text.contains("starting from all") && text.contains("the encoder is frozen"),
        "{text}"
    );
    let after = exported(&second, &out, "second.safetensors");
    assert_eq!(tensors(&weights, "encoder."), tensors(&after, "encoder."));
    assert_ne!(tensors(&weights, "decoder."), tensors(&after, "decoder."));

    // Also where it goes on after an interruption, with the same numbers.
    let third = shown(&out, "third");
    let options = [
        &third[..],
        &net,
        "--weights",
        &weights,
        "--freeze",
        "encoder",
        "--epochs",
    ];
    let longer = |epochs: &str, more: &[&str]| {
        let short = SHORT
            .replace("--epochs 2 ", "")
            .replace("--out", "--schedule constant --out");
        succeed(&words(&short, &[&options[..], &[epochs], more].concat()));
    };
    longer("1", &[]);
    longer("3", &["--resume"]);
    let resumed = epochs(Path::new(&third));
    longer("3", &["--overwrite"]);
    assert_eq!(epochs(Path::new(&third)), resumed);
    let after = exported(&third, &out, "third.safetensors");
    assert_eq!(tensors(&weights, "encoder."), tensors(&after, "encoder."));
}

#[test]
fn the_encoder_of_another_network_is_taken() {
    let out = folder("encoder_taken");
    let [one, other] = ["one", "other"].map(|name| shown(&out, name));
    let three = "--encoder resnet18 --decoder linknet --channels 3 --steps 1 --epochs 1 --out";
    // (Grey images are given to three channels.)
    succeed(&words(
        "train --quiet --batch 1 --crop 64",
        &words(three, &[&one])
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    ));
    let weights = shown(&out, "one.safetensors");
    succeed(&[
        "export", "--model", &one, "--names", "smp", "--out", &weights,
    ]);
    let options =
        "train --epochs 1 --steps 1 --batch 1 --crop 64 --encoder resnet18 --decoder unet --out";
    let text = succeed(&words(options, &[&other, "--weights", &weights]));
    assert!(
        text.contains("weights of the encoder")
            && text.contains("for 3 channels, was adapted to 1"),
        "{text}"
    );

    // What does not fit is refused before anything is written.
    let none = shown(&out, "none");
    let vgg = options.replace("resnet18", "vgg16");
    let text = fail(&words(&vgg, &[&none, "--weights", &weights]));
    assert!(
        text.contains("--weights: ") && text.contains("any network with this encoder"),
        "{text}"
    );
    let broken = write(&out, "broken.pth", "no weights");
    let text = fail(&words(options, &[&none, "--weights", &broken]));
    assert!(text.contains("broken.pth"), "{text}");
    let text = fail(&words(options, &[&none, "--weights", "nowhere.pth"]));
    assert!(text.contains("there is no file"), "{text}");
    assert!(!Path::new(&none).exists());
}

#[test]
fn the_best_epoch_is_kept_and_used() {
    let out = folder("best_kept");
    let run = out.join("run");
    // A rate at which the IoU goes up and down.
    let options = "train --quiet --epochs 6 --steps 2 --batch 1 --crop 32 --learning-rate 0.05 --schedule constant --out";
    succeed(&words(options, &[&run.display().to_string()]));
    let epochs = epochs(&run);
    let iou = |epoch: &Value| epoch["iou"].as_f64().expect("an IoU");
    let best = epochs.iter().map(iou).fold(0.0, f64::max);
    let number = epochs
        .iter()
        .position(|epoch| iou(epoch) == best)
        .expect("the best")
        + 1;
    let mut kept: Vec<usize> = (1..=6)
        .filter(|epoch| run.join(format!("checkpoint/model-{epoch}.bpk")).is_file())
        .collect();
    let mut expected = vec![number, 5, 6];
    expected.sort_unstable();
    expected.dedup();
    kept.sort_unstable();
    assert_eq!(kept, expected);

    let valid = |model: &Path| {
        let model = model.display().to_string();
        let text = succeed(&["eval", "--json", "--valid", "--model", &model]);
        let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        iou(&all)
    };
    assert!((valid(&run) - best).abs() < 1e-6);
    let last = run.join("checkpoint/model-6.bpk");
    assert!((valid(&last) - iou(&epochs[5])).abs() < 1e-6);
}

#[test]
fn optimizers_and_schedules_are_options_of_a_file_too() {
    let out = folder("optimizers");
    let net = write(&out, "net.json", NET);
    let options = r#"{"optimizer": {"AdamW": {"weight_decay": 0.1}}, "schedule": "Linear", "warmup": 2, "clip_norm": 0.5,
                      "crop": [32, 48], "batch": 2, "steps": 2, "epochs": 2}"#;
    let file = write(&out, "train.json", options);
    let run = out.join("run");
    let arguments = words(
        "train --quiet",
        &[
            &net,
            "--options",
            &file,
            "--epochs",
            "1",
            "--out",
            &shown(&out, "run"),
        ],
    );
    succeed(&arguments);
    let text = fs::read_to_string(run.join("training.json")).expect("options");
    let saved: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(saved["optimizer"]["AdamW"]["weight_decay"], 0.1);
    assert_eq!(saved["crop"], serde_json::json!([32, 48]));
    assert_eq!([&saved["epochs"], &saved["warmup"]], [1, 2]);

    // Another optimizer is another training.
    let sgd = out.join("sgd");
    let more = ["--optimizer", "sgd", "--out", &shown(&out, "sgd")];
    succeed(&words(
        "train --quiet --epochs 1",
        &[&[&net[..], "--options", &file], &more[..]].concat(),
    ));
    assert_ne!(
        epochs(&sgd)[0]["step_losses"][1],
        epochs(&run)[0]["step_losses"][1]
    );

    for (text, error) in [
        (r#"{"clip_norm": 0}"#, "clip_norm: 0 is no number above 0"),
        (
            r#"{"optimizer": {"Sgd": {"momentum": 2}}}"#,
            "optimizer: a momentum of 2 must be 0 or more and below 1",
        ),
        (r#"{"learning_rat": 0.1}"#, "Is `learning_rate` meant?"),
    ] {
        let wrong = write(&out, "wrong.json", text);
        let text = fail(&words(
            "train",
            &[&net, "--options", &wrong, "--out", &shown(&out, "no")],
        ));
        assert!(
            text.contains("wrong.json") && text.contains(error),
            "{text}"
        );
    }
    let resumed = fail(&words(
        "train --resume --optimizer adam --out",
        &[&shown(&out, "run")],
    ));
    assert!(
        resumed.contains("--optimizer differs from the saved training"),
        "{resumed}"
    );
}

#[test]
fn the_options_of_another_training_start_a_new_one() {
    let out = folder("options_again");
    let [first, second] = ["first", "second"].map(|name| shown(&out, name));
    succeed(&words(
        SHORT,
        &[&first, "--data", NUCLEI, "--intensities", "z-score"],
    ));
    let options = shown(&out, "first/training.json");
    succeed(&["train", "--quiet", "--options", &options, "--out", &second]);
    assert_eq!(epochs(Path::new(&second)), epochs(Path::new(&first)));
}
