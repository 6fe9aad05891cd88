//! Random command lines and damaged files: the program reports an error, and does not panic, hang or fill the
//! memory.
//!
//! `cargo test` runs a bounded number of cases from a fixed seed. A longer run:
//! `BURN_SKIP_FUZZ_CASES=10000 BURN_SKIP_FUZZ_SEED=7 cargo test --test fuzz`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use burn_skip::augment::{AugmentConfig, AugmentStep, CutOut, Elastic, Transform};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::images::{Bands, nifti, npy, tiff};
use support::{NUCLEI, folder, program, succeed, trained};

/// A case that runs longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number of cases or a seed"),
        Err(_) => default,
    }
}

/// Runs the program in a folder, and fails the test where it does not end with exit code 0, 1 or 2.
fn check(folder: &Path, arguments: &[String], case: u64) {
    let child = program()
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the program runs");
    // (Both pipes are read at the end: what is printed is short, or the case is killed.)
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() && started.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(2));
    }
    let late = started.elapsed() >= LONGEST;
    let _ = child.kill();
    let Output { status, stderr, .. } = child.wait_with_output().expect("a child");
    let text = String::from_utf8_lossy(&stderr);
    let shown = arguments.join(" ");
    assert!(!late, "case {case} runs on: {shown}");
    let ends = matches!(status.code(), Some(0..=2));
    assert!(
        ends && !text.contains("panicked"),
        "case {case}: {shown}: {status}: {text}"
    );
    if status.code() == Some(1) && !text.is_empty() {
        assert!(text.starts_with("error: "), "case {case}: {shown}: {text}");
    }
}

/// The files that the cases read, each in a form that is right.
struct Files {
    folder: PathBuf,
    originals: Vec<(&'static str, Vec<u8>)>,
}

impl Files {
    fn new() -> Self {
        let folder = folder("fuzz");
        fs::create_dir_all(folder.join("data")).expect("a folder");
        trained(&folder.join("run"), &[]);
        let nuclei = Path::new(NUCLEI);
        let small = |name: &str| {
            let image = image::open(nuclei.join(name)).expect("an image").to_luma8();
            let mut png = std::io::Cursor::new(Vec::new());
            image::imageops::crop_imm(&image, 0, 0, 64, 48)
                .to_image()
                .write_to(&mut png, image::ImageFormat::Png)
                .expect("a PNG");
            png.into_inner()
        };
        let read = |name: &str| fs::read(folder.join(name)).expect("a file");
        let values: Vec<f32> = (0..3 * 48 * 64).map(|n| (n % 251) as f32).collect();
        let whole: Vec<u16> = (0..48 * 64).map(|n| n % 251).collect();
        let pages = vec![vec![whole]; 3];
        let mut augment = AugmentConfig::standard();
        for transform in [
            Transform::Elastic(Elastic::default()),
            Transform::CutOut(CutOut::default()),
        ] {
            augment.0.push(AugmentStep::new(0.5, transform));
        }
        let augment = serde_json::to_string(&augment).expect("JSON");
        let net = succeed(&["plan", "--template", "monai-basic-unet"]);
        let originals = vec![
            ("net.json", net.into_bytes()),
            ("data/image.png", small("image.png")),
            ("data/labels.png", small("labels.png")),
            ("augment.json", augment.into_bytes()),
            ("a.tif", tiff([48, 64], &pages[..1], Bands::Planes)),
            ("volume.tif", tiff([48, 64], &pages, Bands::BesideEachOther)),
            ("volume.nii", nifti(&[3, 48, 64], &[1.0; 3], &values)),
            ("a.npy", npy(&[48, 64], &values[..48 * 64])),
            (
                "weights.pth",
                fs::read(nuclei.join("monai_basic_unet.pth")).expect("a file"),
            ),
            ("run/net.json", read("run/net.json")),
            ("run/training.json", read("run/training.json")),
            ("run/history.json", read("run/history.json")),
            ("run/model.bpk", read("run/model.bpk")),
            (
                "run/checkpoint/model-1.bpk",
                read("run/checkpoint/model-1.bpk"),
            ),
            (
                "run/checkpoint/optim-1.bpk",
                read("run/checkpoint/optim-1.bpk"),
            ),
        ];
        Self { folder, originals }
    }

    /// Writes all files as they should be, but for one or two, which are damaged.
    fn write(&self, random: &mut StdRng) {
        let (count, damaged) = (self.originals.len(), random.random_range(0..3));
        let damaged: Vec<usize> = (0..damaged)
            .map(|_| random.random_range(0..count))
            .collect();
        for (index, (name, bytes)) in self.originals.iter().enumerate() {
            let bytes = match damaged.contains(&index) {
                true => self.damage(name, bytes.clone(), random),
                false => bytes.clone(),
            };
            fs::write(self.folder.join(name), bytes).expect("a file that can be written");
        }
    }

    fn damage(&self, name: &str, mut bytes: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
        match random.random_range(0..5) {
            0 => bytes.truncate(random.random_range(0..=bytes.len())),
            1 => {
                for _ in 0..random.random_range(1..8) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
            }
            2 => {
                bytes = self.originals[random.random_range(0..self.originals.len())]
                    .1
                    .clone()
            }
            3 => {
                bytes = (0..random.random_range(0..200))
                    .map(|_| random.random())
                    .collect()
            }
            _ if name.ends_with("json") => bytes = with_other_number(bytes, random),
            _ => bytes.extend((0..random.random_range(1..50)).map(|_| random.random::<u8>())),
        }
        bytes
    }
}

/// One of the numbers of a text becomes another.
fn with_other_number(bytes: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    let text = String::from_utf8(bytes).expect("a text");
    let starts: Vec<usize> = text
        .match_indices(|c: char| c.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    let Some(&at) = starts.get(random.random_range(0..starts.len().max(1))) else {
        return text.into_bytes();
    };
    let end = text[at..]
        .find(|c: char| !c.is_ascii_digit())
        .map_or(text.len(), |length| at + length);
    let number = NUMBERS[random.random_range(0..NUMBERS.len())];
    [&text[..at], number, &text[end..]].concat().into_bytes()
}

const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "2",
    "7",
    "-1",
    "4096",
    "65537",
    "1e9",
    "18446744073709551615",
    "1e400",
    "0.3",
    "null",
];

/// Command lines, in which `#` is to be replaced by a number and `@` by a file.
const LINES: [&str; 26] = [
    "plan net.json --input 1x#x#x#",
    "plan net.json --input #x1x#x# --depth # --columns bytes,kept,stride,field --advice",
    "plan @ --input 1x3x64x64 --format json",
    "plan net.json --input 1x1x64x64 --width # --diagram @",
    "train --dry-run @ --data data --crop # --batch # --steps # --epochs #",
    "train --data data --crop # --batch 1 --steps 1 --epochs 1 --out new --overwrite",
    "train --resume --epochs # --out run",
    "train --data data --weights @ --steps # --epochs 1 --out third --overwrite --ema 0.# --clip-norm # --warmup #",
    "train --data data --dry-run --optimizer sgd --momentum 0.# --schedule poly --foreground 0.# --encoder-rate #",
    "eval --model run --data data --tile # --overlap #",
    "eval --model @ --data data --memory-for-images #",
    "predict --model run --image @ --out out.png --mask mask.png --tile 48",
    "predict --model run --image data/image.png --labels @ --out out.png --mirror",
    "predict --model run --image a.tif --labels a.npy --mask mask.tif --probabilities p.nii.gz",
    "predict --model run --image a.npy --labels a.tif --mask mask.npy --tile #x#",
    "predict --model run --image volume.nii --labels volume.tif --mask mask.nii --memory-for-images 0",
    "train --data data --validation fraction=0.# --intensities window=#,# --steps # --epochs 1 --out other --overwrite",
    "predict --model run --image a.tif --instances i.tif --split distance --min-distance # --min-size # --threshold 0.#",
    "predict --model run --model @ --images data --out-dir new --write mask,instances --largest",
    "eval --model run --data data --instances --min-size # --split none",
    "train --data data --augment augment.json --show-augmentation crops.png --crop #",
    "export --model run --out out.safetensors --names monai",
    "export --model @ --onnx out.onnx --input 1x1x#x#",
    "export --net net.json --onnx out.onnx --input 1x1x#x# --fixed",
    "convert weights.pth --image @ --resize # --out out.png",
    "convert @ --image data/image.png --out out.png --list --save back.safetensors",
];

const PATHS: [&str; 16] = [
    "net.json",
    "data/image.png",
    "data/labels.png",
    "a.tif",
    "a.npy",
    "volume.tif",
    "volume.nii",
    "weights.pth",
    "run",
    "run/model.bpk",
    "run/checkpoint/model-1.bpk",
    "run/history.json",
    "nowhere/x.svg",
    "x.dot",
    ".",
    "",
];

fn arguments(random: &mut StdRng) -> Vec<String> {
    let line = LINES[random.random_range(0..LINES.len())];
    let mut words: Vec<String> = line
        .split(' ')
        .map(|word| {
            let mut text = String::new();
            for letter in word.chars() {
                match letter {
                    // (Mostly a number that is right.)
                    '#' if random.random_bool(0.6) => {
                        text += ["1", "2", "16", "32"][random.random_range(0..4)];
                    }
                    '#' => text += NUMBERS[random.random_range(0..NUMBERS.len())],
                    '@' => text += PATHS[random.random_range(0..PATHS.len())],
                    letter => text.push(letter),
                }
            }
            text
        })
        .collect();
    if random.random_bool(0.1) {
        words.remove(random.random_range(0..words.len()));
    }
    // A training of thousands of steps, or an image of thousands of pixels, takes long and is right.
    let computes = words.first().is_some_and(|word| word != "plan");
    if computes && !words.iter().any(|word| word == "--dry-run") {
        let is_long = |word: &String| word.parse::<f64>().is_ok_and(|n| n > 64.0);
        for word in words.iter_mut().filter(|word| is_long(word)) {
            *word = "3".into();
        }
    }
    words
}

#[test]
fn random_command_lines_and_damaged_files_give_errors() {
    let files = Files::new();
    let first = number("BURN_SKIP_FUZZ_SEED", 1);
    for case in 0..number("BURN_SKIP_FUZZ_CASES", 60) {
        let mut random = StdRng::seed_from_u64(first.wrapping_add(case));
        files.write(&mut random);
        check(&files.folder, &arguments(&mut random), case);
    }
}
