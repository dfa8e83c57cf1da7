"""What can be imported, what an import costs, and what it says where LangChain is missing."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import langchain_mm
import mmrag.testing

NAMES = [
    "CaptionTransformer",
    "ChatModelCaptioner",
    "CrossModalReranker",
    "ImageSafe",
    "LangChainEncoder",
    "MultimodalEmbeddings",
    "MultimodalLoader",
    "MultimodalRetriever",
    "MultimodalVectorStore",
    "content_key",
    "create_multimodal_rag_chain",
    "create_multimodal_tool",
]
SUITES = ["DocumentCompressorTests", "DocumentTransformerTests", "ImageEmbeddingsTests"]

# Loading a part may load numpy, but no model and no engine before it is used.
HEAVY = ("torch", "onnxruntime", "pypdfium2", "transformers", "qdrant_client")

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "langchain_core":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_these_names_are_public_and_no_others() -> None:
    assert langchain_mm.__all__ == NAMES
    assert set(NAMES) <= set(dir(langchain_mm))
    with pytest.raises(AttributeError, match="no attribute 'FusionRetriever'"):
        _ = langchain_mm.FusionRetriever  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_documented_and_of_langchain_mm(name: str) -> None:
    given = getattr(langchain_mm, name)
    assert given.__name__ == name
    assert given.__module__.startswith("langchain_mm.")
    assert name in importlib.import_module(given.__module__).__all__
    assert ">>> " in given.__doc__, "an example"


def test_each_module_says_what_is_public_and_has_it() -> None:
    modules = [name for _, name, _ in pkgutil.iter_modules(langchain_mm.__path__)]
    assert len(modules) >= 20
    for name in modules:
        module = importlib.import_module(f"langchain_mm.{name}")
        assert module.__doc__, name
        assert len(module.__all__) == len(set(module.__all__)), name
        for public in module.__all__:
            assert getattr(module, public) is not None, f"{name}.{public}"


def test_importing_loads_nothing_and_a_name_loads_no_model() -> None:
    code = "import sys, langchain_mm; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & {"langchain_core", "pydantic", "numpy", "PIL", "mmrag", *HEAVY}
    code = "import sys; from langchain_mm import *; print(MultimodalRetriever, *sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert "langchain_core" in loaded
    assert not loaded & {*HEAVY, "langchain_classic", "langchain_openai", "langchain_tests"}


def test_without_langchain_each_name_says_what_to_install() -> None:
    code = f"""{BLOCKED}
import langchain_mm
from mmrag.errors import MissingExtra
for name in langchain_mm.__all__:
    try:
        getattr(langchain_mm, name)
    except MissingExtra as error:
        assert str(error) == f"{{name}} needs an extra: pip install 'mmrag[langchain]'", error
        print(name)
try:
    from langchain_mm import MultimodalRetriever
except ImportError as error:
    print(error)
"""
    said = run(code).splitlines()
    assert said[:-1] == NAMES
    assert said[-1] == "MultimodalRetriever needs an extra: pip install 'mmrag[langchain]'"


def test_another_package_that_is_missing_is_said_by_its_own_name() -> None:
    code = """
import sys
sys.modules["PIL"] = None
import langchain_mm
try:
    langchain_mm.MultimodalLoader
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run(code) == "PIL"


def test_the_suites_are_exported_and_need_nothing_until_they_are_used() -> None:
    assert set(SUITES) <= set(mmrag.testing.__all__)
    for name in SUITES:
        assert getattr(mmrag.testing, name).__name__ == name
    code = f"""{BLOCKED}
import mmrag.testing
from mmrag.testing import FakeEncoder, MemoryStore, StoreContract
from mmrag.errors import MissingExtra
for name in {SUITES}:
    try:
        getattr(mmrag.testing, name)
    except MissingExtra as error:
        print(error)
"""
    assert run(code).splitlines() == [
        f"{name} needs an extra: pip install 'mmrag[langchain]'" for name in SUITES
    ]
    code = "import sys, mmrag.testing; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & {"langchain_core", "pytest"}
