//! The memory of a plan, against what the allocator is asked for on flex.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::{
    Classifier, ClassifierConfig, DenseNet, DenseNetEncoderConfig, Encoder, EncoderConfig, ResNet,
    ResNetEncoderConfig, Unet, UnetConfig,
};
use burn_skip::plan::{Memory, Plan, Trace};
use burn_skip::up::UpConfig;

/// The system's allocator, which counts what is in use.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that is held at once while `step` runs, more than there was before `build`. (It runs once before: the
/// weights are made then, and what is made of them.)
fn peak_of(build: impl FnOnce() -> Box<dyn Fn()>) -> u64 {
    let before = NOW.load(Relaxed);
    let step = build();
    step();
    PEAK.store(NOW.load(Relaxed), Relaxed);
    step();
    (PEAK.load(Relaxed) - before) as u64
}

struct Case {
    name: &'static str,
    plan: Plan,
    net: Box<dyn Fn(&Device) -> Box<dyn Fn(Tensor<4>) -> Vec<Tensor<1>>>>,
    input: [usize; 4],
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() {
    let mut failed = false;
    let cases = cases();
    if let Some(first) = cases.first() {
        // The threads take their own memory once.
        let device = Device::flex().autodiff();
        let before = NOW.load(Relaxed);
        let x = Tensor::zeros(first.input, &device);
        drop((first.net)(&device)(x).remove(0).backward());
        println!(
            "before: {:.1} MiB; the threads' own: {:.1} MiB",
            mib(before as u64),
            mib((NOW.load(Relaxed) - before) as u64)
        );
    }
    for case in cases {
        let Memory {
            inference,
            training,
            kept,
            weights,
        } = case.plan.memory;
        let device = Device::flex();
        let measured_inference = peak_of(|| {
            let x = Tensor::zeros(case.input, &device);
            let net = (case.net)(&device);
            Box::new(move || drop(net(x.clone())))
        });
        let device = device.autodiff();
        let measured_training = peak_of(|| {
            let x = Tensor::zeros(case.input, &device);
            let net = (case.net)(&device);
            Box::new(move || drop(net(x.clone()).remove(0).backward()))
        });
        for (what, planned, measured) in [
            ("inference", inference, measured_inference),
            ("training", training, measured_training),
        ] {
            let off = planned as f64 / measured as f64 - 1.0;
            println!(
                "{:24} {what:10} planned {:7.1} MiB, measured {:7.1} MiB: {:+.1} % (weights {:.1}, kept {:.1})",
                case.name,
                mib(planned),
                mib(measured),
                100.0 * off,
                mib(weights),
                mib(kept)
            );
            failed |= off.abs() > 0.1;
        }
    }
    println!(
        "{} passed, {} failed",
        usize::from(!failed),
        usize::from(failed)
    );
    assert!(!failed, "a plan is off by more than a tenth");
}

fn case<N: Layer<4> + 'static>(
    name: &'static str,
    plan: Plan,
    input: [usize; 4],
    init: impl Fn(&Device) -> N + 'static,
) -> Case {
    Case {
        name,
        plan,
        input,
        net: Box::new(move |device| {
            let net = init(device);
            Box::new(move |x| vec![net.forward(x).mean()])
        }),
    }
}

fn classifier<E: Encoder<4> + 'static>(
    name: &'static str,
    config: ClassifierConfig,
    input: [usize; 4],
    init: impl Fn(&Device) -> Classifier<E> + 'static,
) -> Case {
    Case {
        name,
        plan: config.plan(input),
        input,
        net: Box::new(move |device| {
            let net = init(device);
            Box::new(move |x| vec![net.forward(x).mean()])
        }),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for batch in [1, 2] {
        let unet = UnetConfig::new(3, 2, vec![32, 64, 128, 256]);
        let input = [batch, 3, 256, 256];
        cases.push(case(
            "U-Net",
            unet.plan(input),
            input,
            move |device| -> Unet { unet.init(device) },
        ));
        let unet = UnetConfig::new(1, 1, vec![16, 32, 64]).with_up(UpConfig::linear());
        let input = [4 * batch, 1, 192, 160];
        cases.push(case(
            "U-Net, bilinear",
            unet.plan(input),
            input,
            move |device| -> Unet { unet.init(device) },
        ));
        let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        let unet = UnetConfig::smp(encoder, 1);
        let input = [batch, 3, 256, 256];
        cases.push(case(
            "U-Net on ResNet-18",
            unet.plan(input),
            input,
            move |device| -> Unet { unet.init(device) },
        ));
        let input = [2 * batch, 3, 224, 224];
        for (name, encoder) in [
            ("ResNet-18", ResNetEncoderConfig::resnet18()),
            ("ResNet-50", ResNetEncoderConfig::resnet50()),
        ] {
            let config = ClassifierConfig::new(EncoderConfig::ResNet(encoder.clone()), 1000);
            cases.push(classifier(name, config, input, move |device| -> ResNet {
                ResNet::new(encoder.init(device), 1000, device)
            }));
        }
        let encoder = DenseNetEncoderConfig::densenet121();
        let config = ClassifierConfig::new(EncoderConfig::DenseNet(encoder.clone()), 1000);
        cases.push(classifier(
            "DenseNet-121",
            config,
            input,
            move |device| -> DenseNet { DenseNet::new(encoder.init(device), 1000, device) },
        ));
    }
    cases
}
