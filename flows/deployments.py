"""The Prefect flows: the chain, and one flow per stage. `prefect.yaml` deploys them; `fullchain run` calls them.

Annotations are real objects here, not texts: Prefect turns them into the forms of its UI.
"""

import os

from prefect import Flow, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import get_run_context

from flows import stages
from flows.chain import chain as draw_chain
from flows.chain import evaluate_int4 as evaluate_int4_stage
from flows.config import ChainConfig, load
from flows.environment import MLFLOW_VARIABLE, prepare, running_servers
from flows.execute import as_task, watch
from flows.forms import form_of
from flows.plan import Selection
from flows.run import Done, champion, run_chain
from tasks.artifact import Artifact
from tasks.registry import register
from tasks.stage import Stage
from tasks.store import Store, home
from tasks.tracking import ChainRun

ChainForm = form_of(ChainConfig)


@flow(name="chain", flow_run_name="chain {preset}", log_prints=False)
def chain(
    preset: str = "poet",
    config: ChainForm | None = None,  # type: ignore[valid-type]
    sets: list[str] | None = None,
    only: str | None = None,
    from_stage: str | None = None,
    until: str | None = None,
    force: list[str] | None = None,
) -> dict[str, str]:
    """Take raw text to a served model: every stage cached, resumable and tracked.

    Args:
        preset: Settings to start from: poet, smollm2, micro, or the path of a YAML file.
        config: Settings to change in the preset; those left alone stay the preset's.
        sets: The same as KEY=VALUE, such as pretrain.seed=7; `config` has the last word.
        only: Run this stage alone; what feeds it must be there.
        from_stage: Run this stage and all that follow it.
        until: Run this stage and all that it needs.
        force: Stages to run again although they are cached.
    """
    selection = Selection(only, from_stage, until, tuple(force or ()))
    return _run(load(preset, tuple(sets or ()), config), selection)


def stage_flow(stage: Stage, field: str | None = None) -> Flow[..., dict[str, str]]:
    """A flow that runs one stage of a preset, with a form made from the stage's configuration."""
    setting, form = field or stage.name, form_of(stage.config_type)

    def one_stage(preset: str = "poet", config: form | None = None, force: bool = False) -> dict[str, str]:  # type: ignore[valid-type]
        whole = ChainForm.model_construct(**({setting: config} if config else {}))
        return _run(load(preset, form=whole), Selection(only=stage.label, force=(stage.label,) if force else ()))

    one_stage.__name__ = stage.label.replace("-", "_")
    one_stage.__doc__ = f"""{stage.description}

    Args:
        preset: Settings to start from: poet, smollm2, micro, or the path of a YAML file.
        config: Settings of this stage to change in the preset; those left alone stay the preset's.
        force: Run it again although it is cached.
    """
    return flow(name=stage.label, flow_run_name=f"{stage.label} {{preset}}", log_prints=False)(one_stage)


corpus = stage_flow(stages.corpus)
tokenizer = stage_flow(stages.tokenizer)
tokens = stage_flow(stages.tokens)
pretrain = stage_flow(stages.pretrain)
finetune = stage_flow(stages.finetune)
align = stage_flow(stages.align)
evaluate = stage_flow(stages.evaluate)
quantize = stage_flow(stages.quantize)
evaluate_int4 = stage_flow(evaluate_int4_stage, "evaluate")
release = stage_flow(stages.release)
apply = stage_flow(stages.apply)
report = stage_flow(stages.report)


def _run(cfg: ChainConfig, selection: Selection) -> dict[str, str]:
    """Run the selection inside the current flow run; its result names what every stage made."""
    prepare(home())
    store = Store(home())
    flow_run = str(get_run_context().flow_run.id)  # type: ignore[union-attr]
    tracker = ChainRun(store.home, cfg.name, {"fullchain.preset": cfg.name, "fullchain.prefect_flow_run": flow_run})
    status = "FAILED"
    try:
        done = run_chain(
            draw_chain, cfg, store, selection, as_task, track=tracker.stage, watch=watch,
            provenance={"chain_run": tracker.run_id, "prefect_flow_run": flow_run, "preset": cfg.name},
        )  # fmt: skip
        for stage in done:
            if not stage.built:
                tracker.note_cached(stage.label, stage.artifact)
        if tried := champion(done):
            version = register(store.home, tried, cfg.model_uri, tracker.run_id)
            text = f"`{cfg.model_uri}` is version {version}, made from release `{tried.key}`"
            create_markdown_artifact(text, key="champion")
        _show(done, tracker)
        status = "FINISHED"
    finally:
        tracker.close(status)
    return {stage.label: f"{stage.artifact.stage}/{stage.artifact.key}" for stage in done}


def _show(done: list[Done], tracker: ChainRun) -> None:
    rows = [
        {
            "stage": d.label,
            "state": "run" if d.built else "cached",
            "seconds": d.artifact.provenance["seconds"],
            "key": d.artifact.key,
        }
        for d in done
    ]
    create_table_artifact(rows, key="chain", description="What every stage did")
    for d in done:
        if d.artifact.stage == "report":
            page = _page(d.artifact, tracker)
            create_link_artifact(page, link_text="Report card", key="report", description="What the chain made")


def _page(report: Artifact, tracker: ChainRun) -> str:
    """Where a browser finds the report: in MLflow's UI where that runs, as browsers open no files from web pages."""
    mlflow = os.environ.get(MLFLOW_VARIABLE) or running_servers(home()).get("mlflow")
    run = report.provenance.get("mlflow_run_id")
    if mlflow and run:
        return f"{mlflow.rstrip('/')}/#/experiments/{tracker.experiment_id}/runs/{run}/artifacts/report.html"
    return (report.path / "report.html").as_uri()
