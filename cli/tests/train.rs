//! `burn-skip train`, killed and resumed, and what is made of a trained network.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use support::{NET, NUCLEI, epochs, fail, folder, program, shown, succeed, trained, words, write};

/// Options of a training of two seconds.
fn training(out: &Path) -> Vec<String> {
    let options = "train --quiet --epochs 8 --steps 6 --batch 2 --crop 64 --seed 5 --out";
    words(options, &[&out.display().to_string()])
}

/// How many epochs are in the history, if there is one yet.
fn epochs_kept(out: &Path) -> usize {
    match out.join("history.json").is_file() {
        true => epochs(out).len(),
        false => 0,
    }
}

/// Runs a training, or goes on with it, and kills it after so long. It must go on where it was.
/// False if it came to its end first.
fn killed_after(time: Duration, arguments: &[String], out: &Path) -> bool {
    let kept = epochs_kept(out);
    let reporting: Vec<_> = arguments.iter().filter(|a| *a != "--quiet").collect();
    let mut child = program()
        .args(reporting)
        .arg("--resume")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program runs");
    let started = Instant::now();
    let mut ended = None;
    while started.elapsed() < time && ended.is_none() {
        ended = child.try_wait().expect("a child");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a child that can be killed");
    let output = child.wait_with_output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // (The checkpoint of the last epoch may have been on its way.)
    let goes_on = |epoch: usize| text.contains(&format!("after epoch {epoch}\n"));
    if kept > 1 && text.lines().count() > 1 && kept < 8 {
        assert!(
            goes_on(kept) || goes_on(kept - 1),
            "after {kept} epochs: {text}"
        );
    }
    // (It may have ended between the last look at it and the signal, which then changes nothing.)
    let whole = output.status.success();
    assert!(whole || ended.is_none(), "{text}");
    #[cfg(unix)]
    assert!(whole || output.status.code().is_none(), "{text}");
    !whole
}

#[test]
fn a_training_that_is_killed_twenty_times_ends_as_if_it_had_never_been() {
    ends_as_if_never_killed("", "");
}

/// What the optimizer, the schedule and the average of the weights keep from step to step is resumed, too.
#[test]
fn a_training_with_an_average_of_its_weights_is_resumed_as_exactly() {
    let options = "--optimizer sgd --learning-rate 0.1 --weight-decay 1e-4 --schedule poly --warmup 5 --clip-norm 1 \
                   --ema 0.9 --encoder-rate 0.5 --foreground 0.5 --augment standard";
    // (A training that is killed in its first epoch reads the weights again.)
    let from = folder("killed_from");
    trained(&from, &[]);
    let (from, weights) = (from.display().to_string(), shown(&from, "w.safetensors"));
    succeed(&["export", "--model", &from, "--out", &weights]);
    ends_as_if_never_killed("_average", &format!("{options} --weights {weights}"));
}

/// The IoU of the best and of the last epoch on what was validated on, computed anew.
fn evaluated(out: &Path) -> [f64; 2] {
    let model = out.display().to_string();
    let eval = ["eval", "--valid", "--json", "--model", &model];
    [&[][..], &["--last"]].map(|more| {
        let text = succeed(&[&eval[..], more].concat());
        let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        all["iou"].as_f64().expect("an IoU")
    })
}

/// The weights of the best epoch are there, whichever of the newest a resumed training goes back to.
fn check_best_is_kept(out: &Path) {
    if !out.join("history.json").is_file() {
        return;
    }
    let there = |part: &str, epoch: usize| {
        let file = out.join(format!("checkpoint/{part}-{epoch}.bpk"));
        file.is_file()
    };
    let history = epochs(out);
    let is_whole = |&epoch: &usize| {
        let parts = ["model", "optim", "scheduler"];
        parts.iter().all(|part| there(part, epoch))
    };
    let Some(newest) = (1..=history.len()).rev().find(is_whole) else {
        return;
    };
    let iou = |epoch: usize| history[epoch - 1]["iou"].as_f64().expect("an IoU");
    let best = (1..=newest).reduce(|best, epoch| match iou(epoch) > iou(best) {
        true => epoch,
        false => best,
    });
    let best = best.expect("an epoch");
    assert!(there("model", best), "{best} of {newest}: {history:?}");
}

fn ends_as_if_never_killed(name: &str, more: &str) {
    let whole = folder(&format!("whole{name}"));
    let started = Instant::now();
    // (Its crops are cut by no other thread, and those of the one that is killed by three.)
    let options = [
        training(&whole),
        words(more, &[]),
        words("--workers 0", &[]),
    ]
    .concat();
    succeed(&options);
    let longest = started.elapsed();
    let expected = epochs(&whole);
    assert_eq!(expected.len(), 8);

    let out = folder(&format!("killed{name}"));
    let options = [training(&out), words(more, &[]), words("--workers 3", &[])].concat();
    let mut random = StdRng::seed_from_u64(1);
    let (mut kills, mut in_the_middle) = (0, 0);
    while kills < 20 || in_the_middle < 5 {
        assert!(
            kills < 100,
            "{in_the_middle} of {kills} kills had something to go on from"
        );
        // (A machine that has become slow gets more and more of it.)
        let share = random.random_range(0.0..0.6) * (1.0 + f64::from(kills) / 20.0);
        let time = longest.mul_f64(share);
        if killed_after(time, &options, &out) {
            kills += 1;
            check_best_is_kept(&out);
            in_the_middle += usize::from((1..8).contains(&epochs_kept(&out)));
            continue;
        }
        // It came to its end between two kills. The next begins anew.
        assert_eq!(epochs(&out), expected);
        fs::remove_dir_all(&out).expect("a folder that can be removed");
    }
    assert!(!killed_after(Duration::from_secs(600), &options, &out));
    assert_eq!(epochs(&out), expected);
    assert!(out.join("model.bpk").is_file());
    assert_eq!(evaluated(&out), evaluated(&whole));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_taken() {
    let out = folder("damaged");
    let mut options = training(&out);
    options[3] = "2".into();
    succeed(&options);
    write(&out, "checkpoint/model-2.bpk", "no weights");
    let text = succeed(&["train", "--resume", "--out", &out.display().to_string()]);
    assert!(
        text.contains("model-2.bpk is damaged or no model")
            && text.contains("going back to epoch 1"),
        "{text}"
    );
    assert!(text.contains("continuing after epoch 1"), "{text}");
    assert_eq!(epochs(&out).len(), 2);

    // Where no checkpoint is left, the model that the training wrote is.
    for epoch in 1..=2 {
        write(&out, &format!("checkpoint/model-{epoch}.bpk"), "");
    }
    let (run, model) = (out.display().to_string(), shown(&out, "model.bpk"));
    let text = fail(&["eval", "--model", &run]);
    assert!(
        text.contains(".bpk is damaged or no model: ")
            && text.contains(&format!(". Copy it again, or name {model}, which")),
        "{text}"
    );
    succeed(&["eval", "--model", &model]);
    let train = words(
        "train --epochs 1 --steps 1 --batch 1 --crop 32 --out",
        &[&shown(&out, "second"), "--weights", &run],
    );
    let text = fail(&train);
    assert!(text.contains(&format!("or name {model}, which")), "{text}");
}

#[test]
fn patience_ends_a_training_and_a_resumed_one_stays_ended() {
    let out = folder("patience");
    let path = out.display().to_string();
    let options = "train --epochs 40 --steps 1 --batch 1 --crop 32 --patience 2 --out";
    let text = succeed(&words(options, &[&path]));
    assert!(
        text.contains("stopped early: the IoU has not grown since epoch"),
        "{text}"
    );
    let before = epochs(&out);
    assert!(before.len() < 40);
    let text = succeed(&["train", "--resume", "--out", &path]);
    assert!(
        text.contains("the IoU no longer grew") && !text.contains("train loss"),
        "{text}"
    );
    assert_eq!(epochs(&out), before);
}

/// A second process that was slow to start must not continue from the history that it read before the first
/// had ended.
#[test]
fn a_history_is_read_under_the_lock() {
    let out = folder("locked");
    trained(&out, &[]);
    let lock = fs::File::open(out.join("lock")).expect("the lock");
    lock.lock().expect("a lock");
    // The file is unreadable as long as the lock is held by "the other training".
    let whole = fs::read(out.join("history.json")).expect("a history");
    write(&out, "history.json", "half of a hist");
    let resume = ["train", "--resume", "--out", &out.display().to_string()];
    let text = fail(&resume);
    assert!(text.contains("another training runs in"), "{text}");
    write(&out, "history.json", whole);
    drop(lock);
    succeed(&resume);
}

#[test]
fn an_edited_history_is_refused() {
    let out = folder("edited");
    trained(&out, &[]);
    let history = fs::read_to_string(out.join("history.json")).expect("a history");
    let resume = words(
        "train --resume --epochs 2 --out",
        &[&out.display().to_string()],
    );
    for (from, to, error) in [
        (
            "\"epoch\": 1",
            "\"epoch\": 7",
            "it is numbered 7, and must be 1",
        ),
        (
            "\"epoch\": 1",
            "\"epoch\": 0",
            "it is numbered 0, and must be 1",
        ),
        ("\"iou\": 0.", "\"iou\": 17.", "must lie between 0 and 1"),
        (
            "\"train_loss\": ",
            "\"train_loss\": 1e300, \"x\": ",
            "unknown field `x`",
        ),
    ] {
        let edited = history.replacen(from, to, 1);
        assert_ne!(edited, history);
        write(&out, "history.json", edited);
        let text = fail(&resume);
        assert!(
            text.contains(error) && text.contains("Start anew with --overwrite"),
            "{text}"
        );
    }
    write(&out, "history.json", history);
    succeed(&resume);
    assert_eq!(epochs(&out).len(), 2);
}

#[test]
fn a_dry_run_needs_no_devices_and_writes_nothing() {
    let out = folder("dry").join("run");
    let path = out.display().to_string();
    let options = "train --dry-run --json --device cuda --devices 4 --strategy ddp --out";
    let text = succeed(&words(options, &[&path]));
    let plan: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(plan["devices"], "4 x cuda (ddp)");
    assert_eq!(plan["parameters"], 118_305);
    assert!(!out.exists());
}

#[test]
fn several_devices_train_one_network() {
    let losses = |name: &str, devices: &str| {
        let out = folder(name);
        let mut options = training(&out);
        options.extend(["--devices".into(), devices.into()]);
        succeed(&options);
        epochs(&out)
    };
    let [one, two] = [losses("one", "1"), losses("two", "2")];
    assert_eq!([one.len(), two.len()], [8, 8]);
    // A step of two devices sees twice the crops: it is another training, and learns as well.
    assert_ne!(one[7]["train_loss"], two[7]["train_loss"]);
    let mean = |epoch: &Value| epoch["train_loss"].as_f64().expect("a loss");
    assert!(mean(&two[7]) < 0.8 * mean(&two[0]));
}

#[test]
fn a_training_that_diverges_is_stopped_and_keeps_no_epoch_of_it() {
    let out = folder("diverging");
    let mut net: Value = serde_json::from_str(NET).expect("JSON");
    let huge = serde_json::json!({"Constant": {"value": 1e30}});
    net["Unet"]["encoder"]["Plain"]["style"]["initializer"] = huge;
    net["Unet"]["encoder"]["Plain"]["style"]["norm"] = Value::Null;
    let net = write(&out, "huge.json", net.to_string());
    let run = shown(&out, "run");
    let options = "train --epochs 2 --steps 2 --batch 1 --crop 32 --out";
    let text = fail(&words(options, &[&run, &net]));
    assert!(
        text.contains("the loss is") && text.contains("--learning-rate"),
        "{text}"
    );
    assert_eq!(epochs(&out.join("run")).len(), 0);
}

/// Killed between its first files, a training has a network and no options yet.
#[test]
fn a_training_that_was_killed_as_it_began_is_resumed() {
    let out = folder("begun");
    write(&out, "net.json", NET);
    write(&out, "history.json", "{\"epochs\": []}");
    trained(&out, &["--resume"]);
    assert_eq!(epochs(&out).len(), 1);
}

/// IoU of a mask that was written, counted here.
fn iou(mask: &Path, labels: &Path) -> f64 {
    let [predicted, truth] =
        [mask, labels].map(|path| image::open(path).expect("an image").to_luma8());
    let mut counts = [0.0; 2];
    for (x, y, truth) in truth.enumerate_pixels() {
        let (predicted, truth) = (predicted.get_pixel(x, y).0[0] > 0, truth.0[0] > 0);
        counts[0] += f64::from(u8::from(predicted && truth));
        counts[1] += f64::from(u8::from(predicted || truth));
    }
    counts[0] / counts[1]
}

#[test]
fn a_trained_network_is_evaluated_applied_and_exported() {
    let out = folder("used_after");
    let model = shown(&out, "run");
    let options = "train --quiet --epochs 1 --steps 25 --batch 4 --crop 64 --out";
    succeed(&words(options, &[&model]));

    let data = Path::new(NUCLEI);
    let (image, labels) = (shown(data, "image.png"), data.join("labels.png"));
    let (picture, mask) = (shown(&out, "p.png"), shown(&out, "m.png"));
    let predict = ["predict", "--json", "--model", &model, "--image", &image];
    let text = succeed(&[&predict[..], &["--out", &picture, "--mask", &mask]].concat());
    let text: Value = serde_json::from_str(&text).expect("one JSON object");
    assert!(text["foreground"].as_f64().expect("a share") > 0.05);

    let text = succeed(&["eval", "--json", "--model", &model]);
    let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let counted = iou(Path::new(&mask), &labels);
    assert!(
        (all["iou"].as_f64().expect("an IoU") - counted).abs() < 1e-9 && counted > 0.3,
        "{text} {counted}"
    );
    // The built-in image is the one in the repository.
    let same = succeed(&["eval", "--json", "--model", &model, "--data", NUCLEI]);
    assert_eq!(same.lines().last(), text.lines().last());

    let weights = shown(&out, "u.safetensors");
    succeed(&["export", "--model", &model, "--out", &weights]);
    let bytes = fs::read(&weights).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let head = tensors.tensor("head.weight").expect("a head");
    assert_eq!(head.shape(), [1, 16, 1, 1]);

    let onnx = shown(&out, "u.onnx");
    let export = ["export", "--model", &model, "--onnx", &onnx];
    let text = succeed(&export);
    let shapes = "input [batch, 1, height, width], output [batch, 1, height, width]";
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("using epoch 1 of 1 (validation IoU 0."),
        "{text}"
    );
    assert_eq!(lines[1], format!("wrote {onnx}: {shapes}"));
    let text = fail(&[&export[..], &["--input", "1x1x64"]].concat());
    assert_eq!(
        text,
        "error: --input: it has 3 axes, and the network reads images: give batch, channels, height and width"
    );
    let text = fail(&[&export[..], &["--input", "1x3x64x64"]].concat());
    assert!(
        text.starts_with("error: --input: encoder.stem.first.conv.Conv: channels differ"),
        "{text}"
    );
    let text = fail(&["export", "--model", &model, "--onnx", &shown(&out, "u.pb")]);
    assert!(
        text.ends_with("u.pb should end in .onnx, the format that is written."),
        "{text}"
    );
}

#[test]
fn a_network_of_a_file_is_exported_with_new_weights() {
    let out = folder("export_net");
    let onnx = shown(&out, "net.onnx");
    let classifier = succeed(&["plan", "--template", "resnet18"]);
    let cases = [
        (
            NET.to_string(),
            "1x1x32",
            "--json",
            "input [batch, 1, length]",
        ),
        (
            NET.to_string(),
            "1x1x16x16x16",
            "--fixed",
            "input [1, 1, 16, 16, 16]",
        ),
        (classifier, "1x3x64x64", "--fixed", "output [1, 1000]"),
    ];
    for (net, input, option, shapes) in cases {
        let net = write(&out, "net.json", net);
        let text = succeed(&[
            "export", "--net", &net, "--onnx", &onnx, "--input", input, option,
        ]);
        match option {
            "--json" => assert_eq!(text.trim(), format!(r#"{{"onnx":"{onnx}"}}"#)),
            _ => assert!(text.contains(shapes), "{text}"),
        }
    }
    let net = write(&out, "net.json", NET);
    let text = fail(&[
        "export",
        "--net",
        &net,
        "--onnx",
        &onnx,
        "--input",
        "1x2x32x32",
    ]);
    assert!(
        text.contains("net.json: encoder.stem.first.conv.Conv: channels differ: expected 1, got 2"),
        "{text}"
    );
}

#[test]
fn a_model_of_another_network_is_refused_by_the_tensor() {
    let out = folder("another");
    trained(&out, &[]);
    let net = fs::read_to_string(out.join("net.json")).expect("a network");
    let net: Value = serde_json::from_str(&net).expect("JSON");
    let text = net.to_string().replace("[16,32,64]", "[8,32,64]");
    write(&out, "net.json", text);
    let text = fail(&["eval", "--model", &out.display().to_string()]);
    assert!(
        text.contains("model-1.bpk holds another network")
            && text.contains("weight is [16, 48, 3, 3] in it, and [16, 40, 3, 3] in net.json"),
        "{text}"
    );
}

#[test]
fn a_loss_of_the_library_is_minimised_and_stays_that_of_the_training() {
    let out = folder("loss");
    let (one, other) = (shown(&out, "one"), shown(&out, "other"));
    let options = "train --json --epochs 1 --steps 2 --batch 1 --crop 32 --out";
    let train = |out: &str, more: &[&str]| words(options, &[&[out], more].concat());
    let focal = r#"{"Focal": {"mode": "Binary"}}"#;
    let text = succeed(&train(&one, &["--loss", focal]));
    let start: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert!(start["start"]["loss"]["Focal"].is_object(), "{text}");
    succeed(&train(&other, &[]));
    let loss = |out: &str| {
        epochs(Path::new(out))[0]["train_loss"]
            .as_f64()
            .expect("a loss")
    };
    assert!(loss(&one) < 0.5 * loss(&other));

    let resume = |loss: &str| train(&one, &["--resume", "--loss", loss]);
    let text = fail(&resume(r#"{"Dice": {"mode": "Binary"}}"#));
    assert!(
        text.contains("--loss differs from the saved training"),
        "{text}"
    );
    succeed(&resume(&write(&out, "focal.json", focal)));
    let text = fail(&train(
        &other,
        &["--overwrite", "--loss", r#"{"CrossEntropy": {}}"#],
    ));
    assert!(
        text.contains("--loss: CrossEntropyLoss: channels of the logits are 1"),
        "{text}"
    );
}

#[test]
fn several_classes_and_heads_of_coarser_steps() {
    let out = folder("classes");
    let data = out.join("data");
    fs::create_dir_all(&data).expect("a folder");
    let colours = |x: u32, y: u32| [0, 1, 2, 2][(x / 16 + y / 16) as usize % 4];
    let mask = image::GrayImage::from_fn(96, 64, |x, y| image::Luma([colours(x, y)]));
    let image = image::GrayImage::from_fn(96, 64, |x, y| image::Luma([100 * colours(x, y)]));
    mask.save(data.join("labels.png")).expect("a mask");
    image.save(data.join("image.png")).expect("an image");
    let net = r#"{"Segmentation": {
        "encoder": {"Plain": {"in_channels": 1, "widths": [4, 8, 16]}},
        "decoder": {"Unet": {"widths": [4, 8]}}, "out_channels": 3, "supervised_steps": 1
    }}"#;
    let net = write(&out, "net.json", net);
    write(&data, "classes.txt", "background\nnucleus\n");
    let (folder, run) = (data.display().to_string(), shown(&out, "run"));
    let options = "train --epochs 2 --steps 4 --batch 2 --crop 32 --intensities linear --data";
    let train = words(options, &[&folder, "--out", &run, &net]);
    let text = fail(&train);
    assert!(
        text.contains("classes.txt has 2 names, and the network has 3 classes"),
        "{text}"
    );
    write(&data, "classes.txt", "background\nnucleus\ncell\n");
    let data = folder;
    let text = succeed(&train);
    assert!(text.contains("  IoU by class "), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let table = lines.iter().position(|line| line.starts_with("class  "));
    let table = &lines[table.expect("a table")..];
    assert!(
        table[1].starts_with("0 background  0.") && table[3].starts_with("2 cell        "),
        "{text}"
    );
    let epoch = epochs(Path::new(&run)).pop().expect("an epoch");
    let classes: Vec<_> = epoch["class_iou"].as_array().expect("classes").clone();
    assert_eq!(classes.len(), 3);
    let mean = |classes: &[Value]| {
        let classes = classes.iter().map(|iou| iou.as_f64().expect("an IoU"));
        classes.sum::<f64>() / 2.0
    };
    let iou = epoch["iou"].as_f64().expect("an IoU");
    assert!((mean(&classes[1..]) - iou).abs() < 1e-6, "{epoch}");

    let eval = [
        "eval", "--json", "--valid", "--model", &run, "--data", &data,
    ];
    let text = succeed(&eval);
    let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(
        (all["iou"].as_f64().expect("an IoU") - iou).abs() < 1e-6,
        "{text}"
    );
    for scores in ["class_iou", "class_dice"] {
        assert_eq!(all[scores].as_array().expect("classes").len(), 3);
        assert_eq!(epoch[scores].as_array().expect("classes").len(), 3);
    }
}
