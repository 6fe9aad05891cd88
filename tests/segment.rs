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

/// Runs a training, and kills it after so long, if it still runs.
fn killed_after(time: Duration, arguments: &[String]) -> bool {
    let mut child = Command::new(program())
        .args(arguments)
        .arg("--resume")
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program runs");
    let started = Instant::now();
    while started.elapsed() < time {
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "after {:?}: {status}", started.elapsed());
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a child that can be killed");
    let status = child.wait().expect("a child");
    !status.success()
}

#[test]
fn a_training_that_is_killed_twenty_times_ends_as_if_it_had_never_been() {
    let whole = folder("whole");
    let started = Instant::now();
    let options = training(&whole);
    assert_success(
        &Command::new(program())
            .args(&options)
            .output()
            .expect("it runs"),
    );
    let longest = started.elapsed();
    let expected = epochs(&whole);
    assert_eq!(expected.len(), 8);

    let out = folder("killed");
    let options = training(&out);
    let mut random = StdRng::seed_from_u64(1);
    let mut kills = 0;
    while kills < 20 {
        let time = longest.mul_f64(random.random_range(0.0..0.6));
        if killed_after(time, &options) {
            kills += 1;
            continue;
        }
        // It came to its end between two kills. The next begins anew.
        assert_eq!(epochs(&out), expected);
        fs::remove_dir_all(&out).expect("a folder that can be removed");
    }
    assert!(!killed_after(Duration::from_secs(600), &options));
    assert_eq!(epochs(&out), expected);
    assert!(out.join("model.bpk").is_file());
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_taken() {
    let out = folder("damaged");
    let mut options = training(&out);
    options[3] = "2".into();
    assert_success(
        &Command::new(program())
            .args(&options)
            .output()
            .expect("it runs"),
    );
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
    assert_success(&run(&["train", "--resume", "--quiet", "--out", &shown]));
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
    let out = folder("multi");
    let mut options = training(&out);
    options.extend(["--devices".into(), "2".into()]);
    assert_success(
        &Command::new(program())
            .args(&options)
            .output()
            .expect("it runs"),
    );
    let epochs = epochs(&out);
    let losses = epochs[0]["step_losses"].as_array().expect("losses");
    assert_eq!((epochs.len(), losses.len()), (8, 6));
    let mean = |epoch: &Value| epoch["train_loss"].as_f64().expect("a loss");
    assert!(mean(&epochs[7]) < 0.8 * mean(&epochs[0]));
}
