//! What the program reads and writes: nothing is lost, nothing fills the memory, and errors are one line.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{NET, NUCLEI, fail, folder, run, shown, succeed, trained, words, write};

#[test]
fn errors_are_one_line() {
    let out = folder("wrong");
    let misspelt = write(
        &out,
        "misspelt.json",
        NET.replace("out_channels", "out_chanels"),
    );
    let classes = NET.replace("\"out_channels\": 1", "\"out_channels\": 3");
    let classes = write(&out, "classes.json", classes);
    let channels = NET.replace("\"in_channels\": 1", "\"in_channels\": 2");
    let channels = write(&out, "channels.json", channels);
    let nowhere = shown(&out, "nowhere");
    let path = out.display().to_string();
    let train = |more: &[&str]| fail(&[&["train", "--out", &path], more].concat());

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
    let text = train(&[&channels]);
    assert!(text.contains("in_channels are 2"), "{text}");
    let text = train(&["--crop", "2000"]);
    assert!(text.contains("too small to train on"), "{text}");
    let text = train(&["--data", &nowhere]);
    assert!(text.contains("there is no folder"), "{text}");
    let text = train(&["--devices", "2", "--strategy", "ddp"]);
    assert!(text.contains("only cuda devices can"), "{text}");
    let text = fail(&["eval", "--model", &nowhere]);
    assert!(
        text.contains("Name a folder that `burn-skip train` wrote"),
        "{text}"
    );
    // None of them left a file behind.
    let left = fs::read_dir(&out).expect("a folder").count();
    assert_eq!(left, 3);
}

#[cfg(not(feature = "rocm"))]
#[test]
fn a_device_that_was_not_built_is_named_with_its_feature() {
    let out = folder("device");
    let text = fail(&["train", "--device", "rocm", "--out", &shown(&out, "run")]);
    assert!(
        text.starts_with(
            "error: this build has no rocm. Build it with --features rocm; it has: flex"
        ),
        "{text}"
    );
    let output = run(&["train", "--device", "abacus"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_is_for_one_training_at_a_time() {
    let out = folder("occupied");
    let lock = fs::File::create(out.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    let text = fail(&["train", "--out", &out.display().to_string()]);
    assert!(text.contains("another training runs in"), "{text}");
}

#[test]
fn a_lock_loses_nothing_of_a_file_that_is_there() {
    let out = folder("lock");
    write(&out, "lock", "mine");
    // A run that is refused.
    write(&out, "net.json", "mine");
    let path = out.display().to_string();
    fail(&["train", "--out", &path]);
    assert_eq!(fs::read(out.join("lock")).expect("a file"), b"mine");
    // And one that is not.
    fs::remove_file(out.join("net.json")).expect("a file that can be removed");
    trained(&out, &[]);
    assert_eq!(fs::read(out.join("lock")).expect("a file"), b"mine");
}

#[cfg(unix)]
#[test]
fn a_lock_that_is_a_link_is_refused() {
    let out = folder("lock_link");
    let precious = out.join("precious.txt");
    fs::write(&precious, "mine").expect("a file that can be written");
    let run = out.join("run");
    fs::create_dir(&run).expect("a folder");
    let link = run.join("lock");
    let train = ["train", "--overwrite", "--out", &run.display().to_string()];
    for target in [precious.clone(), out.join("nowhere")] {
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert!(fail(&train).contains("lock is a link or a folder"));
        fs::remove_file(&link).expect("a file that can be removed");
    }
    assert_eq!(fs::read(&precious).expect("a file"), b"mine");
    assert!(!out.join("nowhere").exists());
}

#[test]
fn nothing_is_lost_by_a_training_in_a_folder_in_use() {
    let out = folder("used");
    let path = out.display().to_string();
    let small = "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --out";
    let train = words(small, &[&path]);
    write(&out, "net.json", "mine");
    write(&out, "mine.tmp", "mine");
    assert!(fail(&train).contains("net.json that the training would replace"));
    fs::remove_file(out.join("net.json")).expect("a file that can be removed");
    succeed(&train);
    assert!(
        fail(&train)
            .contains("holds a training. Continue it with --resume, replace it with --overwrite")
    );
    succeed(&[train, words("--overwrite", &[])].concat());
    assert_eq!(fs::read(out.join("mine.tmp")).expect("a file"), b"mine");
}

/// The checkpoints of another program have the same names, if it uses Burn's trainer.
#[test]
fn checkpoints_of_another_program_are_not_removed() {
    let out = folder("foreign");
    fs::create_dir(out.join("checkpoint")).expect("a folder");
    write(&out, "checkpoint/model-7.bpk", "theirs");
    write(&out, "checkpoint/best.bpk", "theirs");
    let path = out.display().to_string();
    let small = "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --out";
    let text = fail(&words(small, &[&path]));
    assert!(
        text.contains("model-7.bpk that the training would replace")
            && text.contains("--overwrite"),
        "{text}"
    );
    let text = fail(&words(small, &[&path, "--resume"]));
    assert!(text.contains("model-7.bpk"), "{text}");
    assert!(out.join("checkpoint/model-7.bpk").exists());
    // What has another name than those of a training stays.
    trained(&out, &["--overwrite"]);
    assert!(!out.join("checkpoint/model-7.bpk").exists());
    assert_eq!(
        fs::read(out.join("checkpoint/best.bpk")).expect("a file"),
        b"theirs"
    );
}

#[test]
fn no_subcommand_writes_over_what_it_reads() {
    let out = folder("overwritten");
    fs::create_dir(out.join("sub")).expect("a folder");
    let model = out.join("run");
    trained(&model, &[]);
    let model = model.display().to_string();
    let bytes = fs::read(Path::new(NUCLEI).join("image.png")).expect("an image");
    let image = write(&out, "img.png", &bytes);
    let around = shown(&out, "sub/../img.png");
    let mut others = vec![image.clone(), around.clone()];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&image, out.join("link.png")).expect("a link");
        others.push(shown(&out, "link.png"));
    }
    for other in &others {
        let predict = [
            "predict", "--model", &model, "--image", &image, "--out", other,
        ];
        let text = fail(&predict);
        assert!(
            text.contains("--out") && text.contains("is also read"),
            "{text}"
        );
        let weights = shown(Path::new(NUCLEI), "monai_basic_unet.pth");
        let text = fail(&["convert", &weights, "--image", &image, "--out", other]);
        assert!(text.contains("is also read"), "{text}");
    }
    let new = shown(&out, "new.png");
    let same = shown(&out, "sub/../new.png");
    let predict = ["predict", "--model", &model, "--image", &image];
    let text = fail(&[&predict[..], &["--out", &new, "--mask", &same]].concat());
    assert!(text.contains("is also written by"), "{text}");
    assert_eq!(fs::read(&image).expect("an image"), bytes);

    let net = write(&out, "net.svg", NET);
    let other = shown(&out, "sub/../net.svg");
    let text = fail(&["plan", &net, "--input", "1x1x64x64", "--diagram", &other]);
    assert!(
        text.contains("--diagram") && text.contains("is also read"),
        "{text}"
    );

    // A training writes prediction.png and curves.png.
    fs::create_dir_all(out.join("data/images")).expect("a folder");
    fs::create_dir_all(out.join("data/masks")).expect("a folder");
    let labels = fs::read(Path::new(NUCLEI).join("labels.png")).expect("an image");
    write(&out, "data/images/prediction.png", &bytes);
    write(&out, "data/masks/prediction.png", labels);
    let (data, run) = (shown(&out, "data"), shown(&out, "sub/../data/images"));
    let text = fail(&["train", "--overwrite", "--data", &data, "--out", &run]);
    assert!(text.contains("is also read"), "{text}");
}

/// A grey image of one value, with some pixels of another.
fn spots(side: u32, colour: [u8; 3], spot: [u8; 3], count: u32) -> image::RgbImage {
    image::RgbImage::from_fn(side, side, |x, y| {
        image::Rgb(if y * side + x < count { spot } else { colour })
    })
}

#[test]
fn a_few_bright_pixels_on_black_can_be_trained_on() {
    let out = folder("spots");
    let data = out.join("data");
    fs::create_dir(&data).expect("a folder");
    let image = spots(64, [0; 3], [255; 3], 5);
    image.save(data.join("image.png")).expect("an image");
    image.save(data.join("labels.png")).expect("an image");
    let data = data.display().to_string();
    for kind in ["log", "linear"] {
        let text = trained(&out.join(kind), &["--data", &data, "--intensities", kind]);
        assert_eq!(text, "");
    }
}

#[test]
fn every_pixel_of_a_mask_that_is_not_black_is_foreground() {
    let out = folder("dark_mask");
    let model = out.join("run");
    trained(&model, &[]);
    let image = shown(Path::new(NUCLEI), "image.png");
    let score = |name: &str, colour: [u8; 3]| {
        let mask = spots(512, [0; 3], colour, 512 * 100);
        let path = shown(&out, name);
        mask.save(&path).expect("an image");
        let model = model.display().to_string();
        let predict = ["predict", "--json", "--model", &model, "--image", &image];
        let files = ["--labels", &path, "--out", &shown(&out, "p.png")];
        let text = succeed(&[&predict[..], &files].concat());
        let value: Value = serde_json::from_str(&text).expect("one JSON object");
        value["iou"].as_f64().expect("an IoU")
    };
    let white = score("white.png", [255; 3]);
    assert_eq!(score("dark_blue.png", [0, 0, 6]), white);
    assert_eq!(score("dark_red.png", [1, 0, 0]), white);
}

/// A PNG of this size, 8 bits grey, whose pixels are missing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8], data: &[u8]| {
        let named = [name, data].concat();
        png.extend(u32::to_be_bytes(data.len() as u32));
        png.extend(&named);
        png.extend(crc32(&named).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 0, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c]);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn an_image_beyond_the_limit_is_refused_before_it_is_decoded() {
    let out = folder("huge_image");
    let image = write(&out, "huge.png", png_header(20_000, 20_000));
    let weights = shown(Path::new(NUCLEI), "monai_basic_unet.pth");
    let convert = ["convert", &weights, "--image", &image];
    let limit = "is 20000 x 20000 (height x width), and the limit is 256 million pixels, since a damaged file may \
                 claim any size. If this one is meant, pass --max-megapixels 400.";
    let text = fail(&convert);
    assert!(text.ends_with(limit), "{text}");
    let text = fail(&[&convert[..], &["--max-megapixels", "400"]].concat());
    assert!(text.contains("is not an image that can be read"), "{text}");
}

#[test]
fn weights_that_inflate_beyond_the_limit_are_refused() {
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    let out = folder("bomb");
    let path = out.join("bomb.pth");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).expect("a file"));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .large_file(true);
    archive
        .start_file("archive/data.pkl", options)
        .expect("an entry");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1100 {
        archive.write_all(&zeros).expect("an entry");
    }
    archive.finish().expect("an archive");
    let path = path.display().to_string();
    let text = fail(&["convert", &path, "--max-gib", "1"]);
    assert!(
        text.contains("it holds more than 1 GiB, which is the limit")
            && text.contains("--max-gib 2"),
        "{text}"
    );
}

/// A classifier of ten million classes, whose last layer is empty.
#[test]
fn weights_with_an_empty_tensor_are_refused() {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    let out = folder("empty");
    let floats = |count: usize| vec![0u8; 4 * count];
    let (stem, conv) = (floats(64 * 3 * 49), floats(64 * 64 * 9));
    let view = |shape: &[usize], bytes| {
        TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor")
    };
    for classes in [3, 10_000_000, usize::MAX] {
        let tensors = [
            ("conv1.weight", view(&[64, 3, 7, 7], &stem[..])),
            ("layer1.0.conv1.weight", view(&[64, 64, 3, 3], &conv[..])),
            ("fc.weight", view(&[classes, 0], &[][..])),
        ];
        let bytes = safetensors::serialize(tensors, None).expect("safetensors");
        let path = write(&out, "empty.safetensors", bytes);
        let text = fail(&["convert", &path]);
        assert!(text.contains("empty.safetensors"), "{text}");
    }
}

#[test]
fn weights_go_there_and_back() {
    let out = folder("weights");
    let data = Path::new(NUCLEI);
    let weights = shown(data, "monai_basic_unet.pth");
    let image = shown(data, "image.png");
    let (first, second) = (shown(&out, "a.png"), shown(&out, "b.png"));
    let saved = shown(&out, "back.safetensors");
    let text = succeed(&[
        "convert", &weights, "--image", &image, "--out", &first, "--save", &saved,
    ]);
    assert!(
        text.contains("detected: MONAI BasicUNet over 2 axes"),
        "{text}"
    );
    succeed(&["convert", &saved, "--image", &image, "--out", &second]);
    assert_eq!(
        fs::read(first).expect("a picture"),
        fs::read(second).expect("a picture")
    );
}

/// Runs the program where the system lets no file be longer than 4 KiB, and returns its error.
#[cfg(unix)]
fn fail_with_small_files(arguments: &[&str]) -> String {
    let mut shell = std::process::Command::new("sh");
    // (POSIX counts in blocks of 512 bytes.)
    shell.args([
        "-c",
        "ulimit -f 8 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_burn-skip"),
    ]);
    let output = shell.args(arguments).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr).trim().to_string();
    assert_eq!(output.status.code(), Some(1), "{:?}: {text}", output.status);
    assert!(
        text.starts_with("error: ") && text.lines().count() == 1,
        "{text}"
    );
    text
}

#[cfg(unix)]
#[test]
fn a_file_beyond_the_limit_of_the_system_is_an_error_and_what_was_there_stays() {
    let out = folder("file_size_limit");
    let run = shown(&out, "run");
    trained(&out.join("run"), &[]);
    let image = shown(Path::new(NUCLEI), "image.png");
    let mask = write(&out, "mask.npy", "an older mask");
    let predict = [
        "predict", "--model", &run, "--image", &image, "--mask", &mask,
    ];
    let text = fail_with_small_files(&predict);
    assert!(
        text.contains("cannot write ")
            && text.contains("mask.npy: ")
            && text.ends_with("raise the limit (ulimit -f), or write to another disk."),
        "{text}"
    );
    assert_eq!(fs::read(&mask).expect("a file"), b"an older mask");
    // (Nor is an unfinished file left.)
    assert_eq!(fs::read_dir(&out).expect("a folder").count(), 2);

    // Nor does a training end without a word.
    let second = shown(&out, "second");
    let train = words(
        "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --out",
        &[&second],
    );
    let train: Vec<&str> = train.iter().map(String::as_str).collect();
    let text = fail_with_small_files(&train);
    assert!(
        text.contains("a checkpoint cannot be written") && text.contains("ulimit -f"),
        "{text}"
    );
    let scratch = [&predict[..], &["--memory-for-images", "0"]].concat();
    let text = fail_with_small_files(&scratch);
    assert!(
        text.contains("cannot keep ")
            && text.contains("raise the limit (ulimit -f), name another folder with --scratch DIR"),
        "{text}"
    );
    let weights = shown(&out, "weights.safetensors");
    let text = fail_with_small_files(&["export", "--model", &run, "--out", &weights]);
    assert!(
        text.ends_with("raise the limit (ulimit -f), or write to another disk."),
        "{text}"
    );
}
