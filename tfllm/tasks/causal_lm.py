"""Causal language modelling: continue a text."""

from tfllm.tasks.spec import ExportSpec, TaskSpec

SPEC = TaskSpec(
    name="causal_lm",
    model="tfllm.models.causal_lm:CausalLM",
    export=ExportSpec(
        contract="tfllm.exporting.contract:generation_contract",
        functions="tfllm.exporting.signatures:generation_functions",
    ),
    huggingface="tfllm.interop.heads:CausalHead",
    generates=True,
    pretrains=True,
)
