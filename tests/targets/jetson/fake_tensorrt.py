"""A FAKE of the TensorRT Python API: it records calls and builds nothing. What passes with it has not run on hardware."""

from types import SimpleNamespace


class FakeTensorRt:
    """The calls ``targets.jetson.builder`` makes; ``log`` holds them in order."""

    def __init__(self, *, accepts: bool = True, builds: bool = True) -> None:
        self.log: list[tuple[str, object]] = []
        self.accepts, self.builds = accepts, builds
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.Logger = type("Logger", (), {"WARNING": 1, "__init__": lambda logger, level: None})

    def Builder(self, logger):
        return SimpleNamespace(
            create_network=self._network, create_builder_config=self._config, build_serialized_network=self._serialize
        )

    def OnnxParser(self, network, logger):
        error = SimpleNamespace(node_name=lambda: "gate/Softmax", desc=lambda: "Assertion failed")
        return SimpleNamespace(parse_from_file=lambda path: self.accepts, num_errors=1, get_error=lambda index: error)

    def _network(self, flags):
        self.log.append(("network", flags))
        return object()

    def _config(self):
        cache = SimpleNamespace(serialize=lambda: b"timings")
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: self.log.append((pool, size)),
            create_timing_cache=lambda data: self.log.append(("timing cache", data)) or cache,
            set_timing_cache=lambda cache, ignore_mismatch: None,
            get_timing_cache=lambda: cache,
        )

    def _serialize(self, network, config):
        self.log.append(("build", None))
        return b"an engine" if self.builds else None
