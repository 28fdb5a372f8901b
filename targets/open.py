"""Open a bundle's graph for inference: what tests/regression and the pipeline call."""

from pydantic import ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import faults
from bundle.formats.manifest import Bundle, BundleVariant
from bundle.judging.choice import pick
from bundle.judging.regression_report import Device, Execution
from targets.base import Execute, ExecutedOn, RunConfig, Session, Variant, VariantRecipe, check_specs
from targets.table import target


def open_session(bundle: Bundle, *, execute: Execute, variant: str, run: RunConfig) -> tuple[Session, ExecutedOn]:
    """Open a variant of a bundle ("": see ``bundle.judging.choice.pick``) on its target; return the session and what it runs on.

    Raises:
        ArtifactError: no such variant, a file is missing or altered, or the graph is not what the manifest says.
        TargetUnavailable: what ``execute`` or ``run.device`` asks for is not on this machine.
    """
    manifest = bundle.manifest
    chosen = as_variant(manifest.variant(pick(bundle, variant).variant))
    with bundle.copied(chosen.files) as folder:
        session = target(manifest.target).open(folder, chosen, run, execute, keep=bundle.folder)
    check_specs(session, manifest.inputs, manifest.outputs, where=str(bundle.folder / chosen.files[0]))
    return session, session.info.executed_on


def execution(session: Session) -> Execution:
    """Say how a session runs, in the words of regression.json."""
    able = session.info.capabilities
    device = Device(name=able.device_name, isa=able.isa)
    facts = {"device": able.device, "runtime": able.runtime, **session.info.settings}
    return Execution(device=device, precision=session.info.precision, executed_on=session.info.executed_on, facts=facts)


def as_variant(stored: BundleVariant) -> Variant:
    """Read a manifest's variant as the target's own value.

    Raises:
        ArtifactError: its recipe is not one of this version.
    """
    try:
        return Variant(recipe=VariantRecipe.model_validate(stored.recipe), files=stored.files)
    except ValidationError as error:
        raise ArtifactError(
            f"the recipe of variant {stored.name!r} cannot be read",
            expected=f"keys {', '.join(VariantRecipe.model_fields)}",
            got=faults(error),
            where="manifest.json",
            fix="take the tdss-runtime.pyz that came with the bundle, or build the bundle again with this version of the project",
        ) from error


def as_bundle_variant(variant: Variant) -> BundleVariant:
    """Write a target's variant as the manifest stores it."""
    recipe = {name: str(value) for name, value in variant.recipe.model_dump().items()}
    return BundleVariant(name=variant.recipe.name, precision=variant.recipe.name, files=variant.files, recipe=recipe)
