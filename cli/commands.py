"""The table of subcommands. A stage's row names the same ``main`` that ``python compile/<stage>.py`` runs."""

from dataclasses import dataclass

COMPLETION = "_TDSS_COMPLETE"  # in the environment where a shell asks how the words go on (cli/completion.py)


@dataclass(frozen=True)
class Command:
    """One subcommand: its words after ``tdss``, the module whose ``function`` it is, and one sentence."""

    name: str
    module: str
    summary: str
    function: str = "main"

    @property
    def words(self) -> tuple[str, ...]:
        """The words after ``tdss`` that call it."""
        return tuple(self.name.split())


COMMANDS = (
    Command(
        "import",
        "cli.import_backbone",
        "Put a published backbone into a checkpoint whose adapters and decoders are untrained, or import a released model.",
    ),
    Command("train", "cli.train", "Train one model or several, in order; a killed run resumes."),
    Command("join", "cli.join", "Write a checkpoint that names its base as one with all its tensors, in float32."),
    Command(
        "pipeline",
        "compile.pipeline",
        "Compile a checkpoint for a target: every stage, the bundle, the regression table.",
    ),
    Command("sweep", "cli.sweep", "Build every model for every target with every variant and seed of a file."),
    Command("export", "compile.export", "Export a checkpoint to ONNX."),
    Command(
        "import-network",
        "compile.import_network",
        "Bring a network of another origin into the form that export gives a checkpoint.",
    ),
    Command("simplify", "compile.simplify", "Simplify an exported graph."),
    Command(
        "fold",
        "compile.fold",
        "Compose the linear maps of a graph, a checkpoint or an ONNX file, and prove that the outputs are the same.",
    ),
    Command("rewrite", "compile.rewrite", "Rewrite a folded graph into the form that a target runs fastest."),
    Command("quantize", "compile.quantize", "Quantize a simplified graph for a target."),
    Command(
        "build", "compile.build", "Build what the device loads from the quantized variants, or defer it to the device."
    ),
    Command(
        "lint",
        "cli.lint",
        "Say what TensorRT would reject, get wrong or run slowly in an ONNX file, and how to fix it.",
    ),
    Command(
        "ranges",
        "cli.show_ranges",
        "Print the range of each tensor against FP16's, the widest first, and which ones stay in float32.",
    ),
    Command(
        "prove",
        "compile.tensorrt_checks.rtx_build",
        "Have NVIDIA's own parser and builder take a graph on the CPU, and print the plan they make of it.",
    ),
    Command(
        "evaluate",
        "cli.evaluate",
        "Measure every task of a checkpoint on a labelled split, without compiling anything.",
    ),
    Command(
        "bench",
        "studies.comparison.command",
        "Time what a user would do instead beside this compiler's graphs, in one interleaved run.",
    ),
    Command(
        "data check",
        "cli.check_data",
        "List every problem of every file of a labelled folder, and count what is in it.",
    ),
    Command("data convert", "cli.convert_data", "Write a published data set as a labelled folder."),
    Command("regress", "cli.regress", "Judge every task of a bundle on this machine against the stored reference."),
    Command("predict", "cli.predict_source", "Run a bundle on images or a video, and write what each task sees."),
    Command(
        "compare",
        "cli.compare",
        "Compare two results task by task and image by image: two bundles, two variants, or one bundle on two devices.",
    ),
    Command("report", "cli.draw_report", "Draw the page of a bundle, report.html."),
    Command(
        "bundle verify",
        "cli.bundle_commands",
        "Hash every file of a bundle and refuse, by name, one that was altered.",
        "verify",
    ),
    Command(
        "bundle info", "cli.bundle_commands", "Say what a bundle holds: tasks, variants, the engine, budgets.", "info"
    ),
    Command(
        "bundle pack", "cli.bundle_commands", "Write a bundle as one archive, and the device runtime beside it.", "pack"
    ),
    Command(
        "bundle unpack", "cli.bundle_commands", "Unpack an archive, complete and verified, or not at all.", "unpack"
    ),
    Command("bundle sign", "cli.bundle_commands", "Sign a bundle's manifest with a private key.", "sign"),
    Command(
        "bundle keygen", "cli.bundle_commands", "Make a pair of ed25519 keys: KEY signs, KEY.pub checks.", "keygen"
    ),
    Command("serve-files", "cli.serve_files", "Write the files with which a serving framework runs a bundle."),
    Command("runtime", "cli.write_runtime", "Write the device runtime: the one file a device needs beside an archive."),
    Command(
        "fleet",
        "cli.run_fleet",
        "Have several devices judge one bundle over SSH, and draw one page: devices × variants.",
    ),
    Command(
        "doctor",
        "cli.doctor",
        "Say what this machine has and lacks for each use: packages, runtimes, devices, instruction sets.",
    ),
    Command("completion", "cli.completion", "Print the script that completes tdss in a shell; nothing is written."),
    Command("store list", "cli.list_store", "List what the stage store holds: stage, key, kind, size and last use."),
    Command("store prune", "cli.prune_store", "Remove entries of the stage store, the least recently used first."),
)
