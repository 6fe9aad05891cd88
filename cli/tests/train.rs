//! `examples/segment` as its users run it: killed and resumed, and with what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// The program. (`cargo test --test segment` alone does not build it.)
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "segment"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success());
        let tests = std::env::current_exe().expect("a test has a path");
        tests
            .ancestors()
            .nth(2)
            .expect("a target folder")
            .join("examples/segment")
    })
}

/// A fresh folder for a test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder to write to");
    folder
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(program()).args(arguments).output();
    output.expect("the program runs")
}

/// What is printed when it goes wrong, which must be one line and no panic.
fn error(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(
        text.starts_with("error: ") && text.trim().lines().count() == 1,
        "{text}"
    );
    text.trim().to_string()
}

fn assert_success(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn output_of(arguments: &[String]) -> Output {
    let output = Command::new(program()).args(arguments).output();
    output.expect("the program runs")
}

/// What every epoch achieved, the time that it took left out.
fn epochs(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("history.json")).expect("a history");
    let mut history: Value = serde_json::from_str(&text).expect("JSON");
    let epochs = history["epochs"].as_array_mut().expect("epochs");
    for epoch in epochs.iter_mut() {
        epoch.as_object_mut().expect("an epoch").remove("seconds");
    }
    std::mem::take(epochs)
}

/// Options of a training of two seconds.
fn training(out: &Path) -> Vec<String> {
    let options = "train --quiet --epochs 8 --steps 6 --batch 2 --crop 64 --seed 5 --out";
    let options = options.split(' ').map(str::to_string);
    options.chain([out.display().to_string()]).collect()
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
    let talk: Vec<_> = arguments.iter().filter(|a| *a != "--quiet").collect();
    let mut child = Command::new(program())
        .args(talk)
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
    let whole = folder("whole");
    let started = Instant::now();
    let options = training(&whole);
    assert_success(&output_of(&options));
    let longest = started.elapsed();
    let expected = epochs(&whole);
    assert_eq!(expected.len(), 8);

    let out = folder("killed");
    let options = training(&out);
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
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_taken() {
    let out = folder("damaged");
    let mut options = training(&out);
    options[3] = "2".into();
    assert_success(&output_of(&options));
    let newest = out.join("checkpoint/model-2.bpk");
    fs::write(&newest, b"no weights").expect("a file that can be written");
    let shown = out.display().to_string();
    let again = run(&["train", "--resume", "--out", &shown]);
    assert_success(&again);
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        text.contains("model-2.bpk is damaged or no model")
            && text.contains("going back to epoch 1"),
        "{text}"
    );
    assert!(text.contains("going on after epoch 1"), "{text}");
    assert_eq!(epochs(&out).len(), 2);
}

#[test]
fn patience_ends_a_training_and_a_resumed_one_stays_ended() {
    let out = folder("patience");
    let shown = out.display().to_string();
    let options = [
        "train",
        "--epochs",
        "40",
        "--steps",
        "1",
        "--batch",
        "1",
        "--crop",
        "32",
        "--patience",
        "2",
    ];
    let output = run(&[&options[..], &["--out", &shown]].concat());
    assert_success(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("stopped early: the IoU has not grown since epoch"),
        "{text}"
    );
    let before = epochs(&out);
    assert!(before.len() < 40);
    let again = run(&["train", "--resume", "--out", &shown]);
    assert_success(&again);
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        text.contains("for the IoU no longer grew") && !text.contains("train loss"),
        "{text}"
    );
    assert_eq!(epochs(&out), before);
}

#[test]
fn a_folder_is_for_one_training_at_a_time() {
    let out = folder("occupied");
    let lock = fs::File::create(out.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    let text = error(&["train", "--out", &out.display().to_string()]);
    assert!(text.contains("another training runs in"), "{text}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let out = folder("wrong");
    let net = fs::read_to_string("examples/segment/net.json").expect("a network");
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).expect("a file that can be written");
        path.display().to_string()
    };
    let misspelt = write("misspelt.json", &net.replace("out_channels", "out_chanels"));
    let classes = write(
        "classes.json",
        &net.replace("\"out_channels\": 1", "\"out_channels\": 3"),
    );
    let wide = write(
        "wide.json",
        &net.replace("\"in_channels\": 1", "\"in_channels\": 2"),
    );
    let nowhere = out.join("nowhere").display().to_string();
    let shown = out.display().to_string();
    let train = |more: &[&str]| error(&[&["train", "--out", &shown], more].concat());

    let text = train(&[&misspelt]);
    assert!(
        text.contains("unknown field `out_chanels`") && text.ends_with("Is `out_channels` meant?"),
        "{text}"
    );
    // (The labels of the data number the nuclei.)
    let text = train(&[&classes]);
    assert!(
        text.contains("is of class") && text.contains("the network has 3 classes (0 to 2)"),
        "{text}"
    );
    let text = train(&[&wide]);
    assert!(text.contains("in_channels are 2"), "{text}");
    let text = train(&["--crop", "2000"]);
    assert!(text.contains("too small to train on"), "{text}");
    let text = train(&["--data", &nowhere]);
    assert!(text.contains("there is no folder"), "{text}");
    let text = train(&["--devices", "2", "--strategy", "ddp"]);
    assert!(text.contains("only cuda devices can"), "{text}");
    let text = error(&["eval", "--model", &nowhere]);
    assert!(
        text.contains("Name a folder that `segment train` wrote"),
        "{text}"
    );
}

#[test]
fn a_model_of_another_network_is_refused_by_the_tensor() {
    let out = folder("another");
    let shown = out.display().to_string();
    let options = [
        "train", "--quiet", "--epochs", "1", "--steps", "1", "--batch", "1", "--crop", "32",
    ];
    assert_success(&run(&[&options[..], &["--out", &shown]].concat()));
    let path = out.join("net.json");
    let net = fs::read_to_string(&path).expect("a network");
    let net: Value = serde_json::from_str(&net).expect("JSON");
    let text = net.to_string().replace("[16,32,64]", "[8,32,64]");
    fs::write(&path, text).expect("a file that can be written");
    let text = error(&["eval", "--model", &shown]);
    assert!(
        text.contains("model.bpk holds another network") && text.contains("[8, 1, 3, 3]"),
        "{text}"
    );
}

#[test]
fn a_dry_run_needs_no_devices_and_writes_nothing() {
    let out = folder("dry").join("run");
    let shown = out.display().to_string();
    let devices = ["--device", "cuda", "--devices", "4", "--strategy", "ddp"];
    let output = run(&[
        &["train", "--dry-run", "--json", "--out", &shown],
        &devices[..],
    ]
    .concat());
    assert_success(&output);
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(told["devices"], "4 x cuda (ddp)");
    assert_eq!(told["parameters"], 118_305);
    assert!(!out.exists());
}

#[test]
fn several_devices_train_one_network() {
    let losses = |name: &str, devices: &str| {
        let out = folder(name);
        let mut options = training(&out);
        options.extend(["--devices".into(), devices.into()]);
        assert_success(&output_of(&options));
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
    let net = fs::read_to_string("examples/segment/net.json").expect("a network");
    let mut net: Value = serde_json::from_str(&net).expect("JSON");
    let huge = serde_json::json!({"Constant": {"value": 1e30}});
    net["Unet"]["encoder"]["Plain"]["style"]["initializer"] = huge.clone();
    net["Unet"]["encoder"]["Plain"]["style"]["norm"] = Value::Null;
    let path = out.join("huge.json");
    fs::write(&path, net.to_string()).expect("a file that can be written");
    let (net, run) = (
        path.display().to_string(),
        out.join("run").display().to_string(),
    );
    let small = [
        "--epochs", "2", "--steps", "2", "--batch", "1", "--crop", "32",
    ];
    let text = error(&[&["train", &net, "--out", &run], &small[..]].concat());
    assert!(
        text.contains("the loss is") && text.contains("--learning-rate"),
        "{text}"
    );
    assert_eq!(epochs(&out.join("run")).len(), 0);
}

#[test]
fn nothing_is_lost_by_a_training_in_a_folder_in_use() {
    let out = folder("used");
    let shown = out.display().to_string();
    let small = [
        "--quiet", "--epochs", "1", "--steps", "1", "--batch", "1", "--crop", "32",
    ];
    let train = [&["train", "--out", &shown], &small[..]].concat();
    fs::write(out.join("net.json"), "mine").expect("a file that can be written");
    fs::write(out.join("mine.tmp"), "mine").expect("a file that can be written");
    assert!(error(&train).contains("net.json that the training would replace"));
    fs::remove_file(out.join("net.json")).expect("a file that can be removed");
    assert_success(&run(&train));
    assert!(
        error(&train)
            .contains("holds a training. Go on with --resume, replace it with --overwrite")
    );
    assert_success(&run(&[&train[..], &["--overwrite"]].concat()));
    assert_eq!(fs::read(out.join("mine.tmp")).expect("a file"), b"mine");
}

/// Killed between its first files, a training has a network and no options yet.
#[test]
fn a_training_that_was_killed_as_it_began_is_resumed() {
    let out = folder("begun");
    let shown = out.display().to_string();
    let net = fs::read("examples/segment/net.json").expect("a network");
    fs::write(out.join("net.json"), net).expect("a file that can be written");
    fs::write(out.join("history.json"), "{\"epochs\": []}").expect("a file that can be written");
    let small = "--quiet --resume --epochs 1 --steps 1 --batch 1 --crop 32";
    let small: Vec<&str> = small.split(' ').collect();
    assert_success(&run(&[&["train", "--out", &shown], &small[..]].concat()));
    assert_eq!(epochs(&out).len(), 1);
}

/// IoU of a mask that was written, counted here; of the columns from `left` on.
fn iou(mask: &Path, labels: &Path, left: u32) -> f64 {
    let [found, truth] = [mask, labels].map(|path| image::open(path).expect("an image").to_luma8());
    let mut counts = [0.0; 2];
    for (x, y, truth) in truth.enumerate_pixels().filter(|(x, ..)| *x >= left) {
        let (found, truth) = (found.get_pixel(x, y).0[0] > 0, truth.0[0] > 0);
        counts[0] += f64::from(u8::from(found && truth));
        counts[1] += f64::from(u8::from(found || truth));
    }
    counts[0] / counts[1]
}

#[test]
fn a_trained_network_is_judged_used_and_given_away() {
    let out = folder("used_after");
    let shown = |name: &str| out.join(name).display().to_string();
    let model = shown("run");
    let options = "--quiet --epochs 1 --steps 25 --batch 4 --crop 64";
    let options: Vec<&str> = options.split(' ').collect();
    assert_success(&run(&[&["train", "--out", &model], &options[..]].concat()));

    let data = Path::new("examples/data/nuclei");
    let [image, labels] = ["image.png", "labels.png"].map(|name| data.join(name));
    let image_name = image.display().to_string();
    let files = [
        "--image",
        &image_name,
        "--out",
        &shown("p.png"),
        "--mask",
        &shown("m.png"),
    ];
    let told = run(&[&["predict", "--json", "--model", &model], &files[..]].concat());
    assert_success(&told);
    let told: Value = serde_json::from_slice(&told.stdout).expect("one JSON object");
    assert!(told["foreground"].as_f64().expect("a share") > 0.05);
    let judged = run(&["eval", "--json", "--model", &model]);
    assert_success(&judged);
    let judged = String::from_utf8_lossy(&judged.stdout).into_owned();
    let all: Value = serde_json::from_str(judged.lines().last().expect("a line")).expect("JSON");
    let counted = iou(&out.join("m.png"), &labels, 0);
    assert!(
        (all["iou"].as_f64().expect("an IoU") - counted).abs() < 1e-9 && counted > 0.3,
        "{judged} {counted}"
    );

    let weights = shown("u.safetensors");
    assert_success(&run(&["export", "--model", &model, "--out", &weights]));
    let bytes = fs::read(&weights).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let head = tensors.tensor("head.weight").expect("a head");
    assert_eq!(head.shape(), [1, 16, 1, 1]);
    let twice = error(&[
        "predict",
        "--model",
        &model,
        "--image",
        &image_name,
        "--out",
        &image_name,
    ]);
    assert!(twice.contains("is named twice"), "{twice}");
}
