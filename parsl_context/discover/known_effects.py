"""What names say about calls that stay in the body: which leave files, settings and globals as they are.

For what may be stepped over, see `parsl_context.discover.passing`: such a call may look at the outside world, which one
that moves must not. As those of `parsl_context.discover.known_names`, the tables err towards refusal.
"""

from __future__ import annotations

import datetime
import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions of libraries that look at what is outside of the process, or draw, wait or tell, and change nothing there.
_LOOKING = re.compile(
    r"""(?x)^(
      time\.(time|time_ns|perf_counter|perf_counter_ns|monotonic|process_time|sleep|strftime|localtime|gmtime)
    | datetime\.(datetime|date)\.(now|today|utcnow|fromtimestamp)
    | uuid\.uuid[14] | os\.(getenv|environ|environ\.get|getpid|getcwd|cpu_count|listdir|stat|makedirs|path\.\w+)
    | glob\.glob | getpass\.getuser | platform\.\w+ | socket\.gethostname | warnings\.warn | gc\.collect
    | logging\.(getLogger|debug|info|warning|error|exception) | sys\.(argv|getsizeof|stderr|stdout)
    | itertools\.\w+ | copy\.\w+ | threading\.R?Lock | contextlib\.(suppress|nullcontext)
    | random\.(Random|random|randint|uniform|choices?|sample|shuffle|gauss|randrange|normalvariate)
    | numpy\.random\.(default_rng|Generator|PCG64|RandomState|SeedSequence)
    | numpy\.random\.(rand|randn|randint|random|normal|uniform|choice)
    | torch\.(rand|randn|randint|randperm|Generator) | torch\.cuda\.is_available
    | tempfile\.(mkdtemp|gettempdir|TemporaryDirectory)
    | sqlite3\.connect | sqlalchemy\.(create_engine|text|select) | requests\.get
    | sklearn\.model_selection\.\w+
    )$"""
)
_SEEDING = _words(
    """
    random.seed random.setstate numpy.random.seed numpy.random.set_state torch.manual_seed torch.random.manual_seed
    torch.cuda.manual_seed torch.cuda.manual_seed_all torch.seed torch.set_rng_state tensorflow.random.set_seed
    """
)
# Built-in functions whose calls may be stepped over, besides those that compute.
PASSED_BUILTINS = _words("print iter next type id hash callable hasattr zip map filter enumerate reversed super object")

# Methods of what comes with Python, and of arrays, tables and tensors: whoever has a method of these names has one that
# does not change files.
_OF_PYTHON = frozenset(
    name
    for kind in (str, bytes, list, dict, set, tuple, int, float, complex, datetime.datetime, datetime.timedelta)
    for name in dir(kind)
    if not name.startswith("_")
)
_OF_LIBRARIES = _words(
    """
    astype reshape ravel flatten mean std var sum min max argmin argmax argsort cumsum cumprod dot clip round any all
    nonzero searchsorted ptp prod tolist item transpose squeeze unsqueeze permute view expand repeat contiguous detach
    clone numpy cpu cuda to float double long int half bool size dim numel norm abs exp log sqrt softmax sigmoid
    to_numpy to_dict to_list to_frame reset_index set_index sort_values sort_index groupby agg merge drop dropna fillna
    drop_duplicates rename isin isna notna isnull notnull between unique nunique value_counts head tail query assign
    median quantile describe corr shift diff rolling resample idxmax idxmin items iterrows itertuples first last
    total_seconds strftime isoformat date group groups groupdict span search match fullmatch findall finditer sub
    exists is_file is_dir resolve absolute with_suffix with_name joinpath relative_to read_text read_bytes read
    readline readlines close cursor fetchall fetchone fetchmany
    random integers normal uniform choice choices shuffle permutation standard_normal poisson exponential rand randn
    randint gauss sample spawn
    debug info warning error exception
    """
)
# Those that are called for what they do to what they are called on: it is the call's own.
_FOR_EFFECT = _words(
    """
    append extend insert add update sort reverse clear pop remove discard setdefault close shuffle debug info warning
    error exception
    """
)
_ASKING = re.compile(r"\s*(select|with|pragma)\b", re.IGNORECASE)

# What draws no random numbers, or none but those of a generator that it is given.
_DRAWING_NOTHING = re.compile(
    r"""(?x)^(
      (builtins|math|json|csv|re|pathlib|collections|itertools|functools|pickle|gzip|string|datetime|decimal|struct)\..*
    | joblib\.load | PIL\..* | pandas\.(?!.*sample).*
    | numpy\.(?!random).* | scipy\.(linalg|ndimage|interpolate|special|signal)\..* | scipy\.sparse\.\w+_(matrix|array)
    | scipy\.spatial\.c?KDTree | scipy\.sparse\.(load_npz|diags|eye|identity|kron)
    | torch\.(load|jit\.load|tensor|as_tensor|from_numpy|zeros|ones|arange|linspace|eye|stack|cat|device)
    | rdkit\.Chem\.MolFrom\w+ | onnxruntime\.InferenceSession | networkx\.(read_\w+|(Multi)?(Di)?Graph)
    )$"""
)


def only_looks(full: str) -> bool:
    """Whether a function of a library, by its full name, may be called without what is outside being changed."""
    return _LOOKING.match(full) is not None or full in _SEEDING


def seeds(full: str) -> bool:
    """Whether a function sets what random numbers begin with, by its full name."""
    return full in _SEEDING


def is_plain_method(name: str) -> bool:
    """Whether a method changes nothing but what it is called on, by its name."""
    return name in _OF_PYTHON or name in _OF_LIBRARIES


def is_for_effect(name: str) -> bool:
    """Whether a method whose result nobody takes changes nothing but what it is called on, by its name."""
    return name in _FOR_EFFECT


def only_asks(text: object) -> bool:
    """Whether a statement in SQL changes nothing."""
    return isinstance(text, str) and _ASKING.match(text) is not None


def draws_nothing(full: str | None, method: str) -> bool:
    """Whether a call draws no random numbers but those of a generator it is given; by its full name, or its method."""
    if full is not None:
        return _DRAWING_NOTHING.match(full) is not None
    return is_plain_method(method) or method in ("eval", "load_state_dict", "convert", "toarray", "tocsr", "tocsc")
