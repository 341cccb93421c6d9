"""What names say about calls: which look at the outside world, draw random numbers, make iterators, or change things.

The automatic split relies on these tables. They err towards refusal: a name that stands here without need costs a split
that could have been, one that is missing makes a wrong one possible.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Modules whose functions look at, or change, what is outside of the process, or its state; or make what is used up.
OUTSIDE_MODULES = _words(
    """
    asyncio atexit concurrent contextlib contextvars ctypes datetime fileinput ftplib gc getpass glob http inspect
    io itertools locale logging mmap multiprocessing numbers os platform poplib pty queue random requests resource
    sched secrets select selectors shelve shutil signal smtplib socket socketserver sqlite3 ssl subprocess sys
    sysconfig tempfile termios threading time traceback tty urllib urllib3 uuid warnings weakref webbrowser xmlrpc
    zmq aiohttp boto3 dask dbm duckdb h5py httpx ibis lmdb mpi4py netCDF4 paramiko parsl parsl_context peewee
    psycopg psycopg2 pymongo pymysql ray redis smart_open sqlalchemy tables websockets zarr
    """
)
# Functions in them that compute from their arguments alone.
PLAIN_FUNCTIONS = _words(
    """
    os.path.join os.path.basename os.path.dirname os.path.splitext os.path.normpath os.fspath
    datetime.timedelta datetime.date datetime.datetime datetime.timezone datetime.datetime.strptime
    datetime.datetime.fromisoformat datetime.date.fromisoformat datetime.datetime.combine datetime.timezone.utc
    datetime.time
    urllib.parse.quote urllib.parse.unquote urllib.parse.urlencode urllib.parse.urljoin urllib.parse.urlparse
    urllib.parse.urlsplit torch.cuda.is_available torch.backends.mps.is_available torch.cuda.device_count
    os.cpu_count sys.maxsize sys.byteorder sys.platform sys.version_info sys.float_info
    """
)

# Parts of dotted names that say so wherever they stand.
_OUTSIDE_NAME = re.compile(
    r"""(?x)^(
      .*rand.* | .*seed.* | .*shuffle.* | .*permut.* | .*sampl.* | .*choice.* | noise | normal | uniform | dropout
    | bootstrap | resample | train_test_split | .*_?split | make_[a-z_]+ | now | today | utcnow | time | time_ns
    | monotonic.* | perf_counter.* | clock | .*timestamp | getenv | environ | getcwd | cwd | home | expanduser
    | getpid | getuser | hostname | cpu_count | device_count | is_available | current_device | get_device.* | argv
    | open | connect(?!ed).* | .*connection | cursor | session | client | urlopen | request.* | download.* | fetch.*
    | upload.* | socket | popen | run | system | call | check_output | spawn.* | fork | submit | start | input
    | stdin | stdout | stderr | print | getpass | uuid\d? | token_hex | token_bytes | token_urlsafe
    | mkdtemp | mkstemp | gettempdir | tempnam | .*tempfile.*
    | iter.* | itertuples | stream.* | .*reader | .*_iter | generat.* | cycle | tee | chain | count | accumulate
    | zip | map | filter | enumerate | reversed | exists | isfile | isdir | listdir | scandir | walk | glob | rglob
    | iterdir | stat | getmtime | getsize | lock | rlock | event | condition | semaphore | thread | process | pool
    | queue | timer | write.* | save.* | dump | to_csv | to_pickle | to_json | to_sql | to_parquet | to_excel
    | extractall | mkdir | makedirs | touch | unlink | remove | rename | replace_file | rmtree | copyfile | symlink
    )$"""
)
# Names of functions of libraries that say so; methods of these names change what they are called on.
_GLOBAL_NAME = re.compile(
    r"^(set_[a-z_]+|register.*|config|basicconfig|configure|use|reset.*|enable.*|disable.*|init|setup|install)$"
)
# Not those, which sound alike and compute.
_PLAIN_NAMES = _words(
    """
    replace normalize counter resolve cumcount value_counts split rsplit splitlines count operand operands
    make_pipeline make_union make_column_transformer make_column_selector make_scorer
    """
)

# Methods that change what they are called on, and functions that change their arguments.
_CHANGING_NAME = re.compile(
    r"""(?x)^(
      append.* | extend.* | insert.* | remove.* | pop.* | clear.* | update.* | add | add_.* | discard.*
    | setdefault | sort | reverse | rotate | write.* | seek.* | read.* | next.* | send | throw | close | flush
    | truncate | fit.* | partial_fit | train | step | backward | learn.* | register.* | unregister.* | set.*
    | put.* | push.* | increment.* | inc | decrement.* | reset.* | delete.* | drain | load.* | init.* | build.*
    | consume | advance | acquire | release | start.* | stop.* | execute.* | commit | rollback | fetch.* | feed.*
    | record.* | log_.* | enter.* | exit.* | connect(?!ed).* | disconnect.* | .*shuffle.* | swap.* | move.* | fill.*
    | resize.* | .*_update | evolve | mutate.* | tick | emit.* | enqueue.* | dequeue.* | heap.* | insort.* | copyto
    | place | putmask | itemset | setflags | setitem | delitem | iadd | isub | imul | subtract | apply_ | assign_.*
    | eval | half | double | cuda | enable.* | disable.* | zero_grad.* | attach.* | detach_ | store.*
    | merge_.* | bump.* | toggle.*
    | rand.* | normal | uniform | choice.* | integers
    | permutation | permuted | shuffle | sample.* | gauss | getrandbits | seed | __.*
    )$"""
)
# In CamelCase, as libraries in C++ have them; besides those that are known with underscores.
_CAMEL_CHANGING = re.compile(
    r"""(?x)^(
      .*(Sanitize|Kekulize|Embed|Optimize|Minimize|Align|Canonicalize|InPlace|GasteigerCharges|Coords).*
    | (Assign|Transform|Wedge|Clean|Adjust|Compute[23]D|Straighten|Initialize|Perceive|Replace(Atom|Bond)
      |Connect|Center|Translate|Rotate).*
    )$"""
)
_CAMEL_PLAIN = _words("AddHs RemoveHs RemoveAllHs TransformedMol")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ASKED = _words("__class__ __name__ __qualname__ __doc__ __len__ __version__ __contains__ __getitem__ __file__")
_NOT_CHANGING = _words(
    """
    readable fillna settings setting set_index reset_index nextafter log_softmax log_prob log_loss log_ndtr log_expit
    log_sigmoid logsigmoid log_likelihood
    """
)

_KEEPING_NAME = re.compile(
    r"^(append|extend|insert|add|put|push|set|update|register|store|enqueue|attach|send|emit|assign|load|init|build|log_"
    r"|record|heap|_|connect|move|fill|feed).*"
)

# Built-in functions that compute from their arguments alone, and keep nothing of them.
PLAIN_BUILTINS = _words(
    """
    abs all any ascii bin bool bytearray bytes chr complex dict divmod float format frozenset hex int isinstance
    issubclass len list max min oct ord pow range repr round set slice sorted str sum tuple
    """
)
# Built-in functions that make iterators: fine as the argument of one that uses it up at once.
ITERATORS = frozenset({"zip", "map", "filter", "enumerate", "reversed"})
CONSUMERS = _words(
    """
    all any bytes dict frozenset list max min set sorted sum tuple
    """
)
# What libraries make iterators with, and methods that do.
READERS = _words(
    """
    csv.reader csv.DictReader itertools.chain itertools.chain.from_iterable itertools.product itertools.combinations
    itertools.permutations itertools.combinations_with_replacement itertools.pairwise itertools.zip_longest
    itertools.islice itertools.accumulate itertools.cycle itertools.repeat itertools.count itertools.takewhile
    itertools.dropwhile itertools.starmap itertools.groupby itertools.compress
    """
)
# Of lists, dictionaries and sets that these are given they make something new.
COPYING_MODULES = _words("numpy pandas scipy math statistics json torch")
COPYING_FUNCTIONS = _words("collections.Counter collections.OrderedDict collections.deque copy.copy copy.deepcopy")
# What a `with` block may be entered by: files that are read, and what says how things are computed within.
OPENING = _words("builtins.open io.open gzip.open bz2.open lzma.open numpy.load PIL.Image.open")
# Methods of an image that is opened for them, which they read to its end.
IMAGE_METHODS = _words("convert resize copy rotate transpose crop filter")
# What makes generators of random numbers that begin with what they are told.
SEEDED = _words("numpy.random.default_rng numpy.random.RandomState random.Random")
BIT_GENERATORS = _words("numpy.random.PCG64 numpy.random.MT19937 numpy.random.Philox numpy.random.SFC64")
# Methods that are called for their effect, which is not on what they are called on.
ONLY_READING = _words("debug info warning error exception critical log wait join")
PLAIN_BLOCKS = _words("torch.no_grad torch.inference_mode numpy.errstate")
# What reads the file that it is given to its end.
READING_FILES = _words("json.load pickle.load yaml.safe_load tomllib.load numpy.load numpy.loadtxt numpy.genfromtxt")
READING_FILE_METHODS = _words("read readlines")
READING_MODES = _words("r rt rb")
# Functions that are called for what they do to their first argument.
CHANGING_FIRST = _words(
    """
    heapq.heapify heapq.heappush heapq.heappop bisect.insort bisect.insort_left bisect.insort_right
    numpy.fill_diagonal numpy.put numpy.place numpy.copyto numpy.add.at numpy.subtract.at networkx.set_node_attributes
    networkx.set_edge_attributes
    """
)
# Methods that read what they are given to its end.
USING_UP_METHODS = _words("join extend update add_edges_from add_nodes_from add_weighted_edges_from")
# What gives a condition for each item of an array.
MASKING = _words("isin notna isna isnull notnull duplicated between isfinite isnan isinf logical_not isclose")
# Settings of libraries that may be made again and again, so both halves make them.
SETTINGS = _words(
    """
    torch.set_num_threads torch.set_default_dtype torch.set_grad_enabled torch.set_float32_matmul_precision
    torch.use_deterministic_algorithms numpy.seterr numpy.set_printoptions pandas.set_option warnings.filterwarnings
    warnings.simplefilter rdkit.RDLogger.DisableLog logging.disable sklearn.set_config matplotlib.use
    """
)
LIVE_MAKERS = _words(
    """
    decimal.Context zlib.compressobj zlib.decompressobj bz2.BZ2Compressor bz2.BZ2Decompressor lzma.LZMACompressor
    lzma.LZMADecompressor difflib.SequenceMatcher scipy.integrate.ode
    """
)
# Methods of tables and models of libraries that are given lists, and leave them as they are.
METHODS_READING_TABLES = _words(
    """
    dropna drop reindex isin groupby sort_values drop_duplicates duplicated agg aggregate set_index rename map replace
    merge pivot_table melt astype fillna filter fit fit_transform transform predict predict_proba issubset issuperset
    isdisjoint union intersection difference subgraph
    """
)
# Methods that are of text, sets and arrays whoever has made these.
METHODS_OF_ANYTHING = _words(
    """
    count index startswith endswith split rsplit strip join find translate dot searchsorted isin union difference
    issubset issuperset isdisjoint intersection
    """
)
READING_TABLES = _words("items keys values get index count copy")
READING_METHODS = _words("itertuples iterrows iterfind finditer iter")
# What these give shares nothing with their arguments.
FRESH_BUILTINS = _words(
    """
    abs all any ascii bin bool bytes chr complex float format hex int isinstance len oct ord repr round str
    """
)
EXCEPTIONS = re.compile(r"^[A-Z]\w*(Error|Exception|Warning)$")

# Estimators that draw random numbers unless they are told a state to begin with.
RANDOM_UNLESS_TOLD = re.compile(
    r"""(?x)^(
      .*Forest.* | ExtraTree.* | .*Boost.* | MLP.* | .*KMeans | SGD.* | TSNE | UMAP | NMF | .*Bagging.*
    | Dec.*Tree.* | .*PCA | TruncatedSVD | FastICA | .*Mixture | Perceptron | PassiveAggressive.* | .*Sampler
    | LatentDirichlet.* | RBM | .*KFold | ShuffleSplit | .*SearchCV | .*Projection | LinearSVC | SVC
    | LogisticRegression.* | Nystroem | .*GaussianProcess.* | Word2Vec | Doc2Vec | FastText
    | spring_layout | louvain_communities | asyn_.* | kmeans2? | differential_evolution | dual_annealing | basinhopping
    )$"""
)
# Layers of networks begin with weights that are drawn, until others are loaded.
_DRAWN_WEIGHTS = re.compile(
    r"torch\.nn\.(\w+\.)*(Lazy)?(Linear|Bilinear|Conv\w+|Embedding\w*|RNN|LSTM|GRU|\w*Cell|Multihead\w+"
    r"|Transformer\w*)$"
)
# Keywords that have a function tell about what it does, where it is to be seen with each call.
TELLING = _words("verbose show_progress progress progress_bar disp echo debug show trace")
STATES = frozenset({"random_state", "seed", "rng", "random_seed", "generator", "key"})
RANDOM_ONLY_IF = {"SVC": "probability", "LinearSVC": "dual", "LogisticRegression": "solver", "PCA": "svd_solver"}


def is_outside(dotted: str) -> bool:
    """Whether a function of a library, by its full name, does more than compute from its arguments."""
    if dotted in PLAIN_FUNCTIONS:
        return False
    first, *rest = dotted.split(".")
    return first in OUTSIDE_MODULES or any(is_outside_name(each) or _GLOBAL_NAME.match(each.lower()) for each in rest)


def is_outside_name(name: str) -> bool:
    """Whether a single name of a function or method says so."""
    if RANDOM_UNLESS_TOLD.match(name) or name.endswith("Dropout"):
        return False  # that depends on what it is told; a layer of a network only makes room for what it does
    name = name.lower()
    return name not in _PLAIN_NAMES and _OUTSIDE_NAME.match(name) is not None


def is_changing(name: str) -> bool:
    """Whether a method changes what it is called on, or a function what it is given, by its name."""
    if name in _ASKED:
        return False
    if name.endswith("_") and not name.endswith("__"):
        return True  # as of PyTorch
    if name[:1].isupper() and not name.isupper():
        if name in _CAMEL_PLAIN or _CAMEL_CHANGING.match(name):
            return name not in _CAMEL_PLAIN
        name = _HUMP.sub("_", name)
    name = name.lower()
    return name not in _NOT_CHANGING and _CHANGING_NAME.match(name) is not None


# What these methods give is new, all of it.
_NEW_METHODS = _words(
    """
    RunReactants RunReactant predict predict_proba predict_log_proba transform inverse_transform score decision_function
    kneighbors query query_ball_point findall finditer fullmatch sub subn format join encode decode lower upper
    strip lstrip rstrip
    split rsplit splitlines startswith endswith isdigit tolist item deepcopy GetFingerprint GetCountFingerprint
    HasSubstructMatch GetSubstructMatch GetSubstructMatches GetNumAtoms count index
    total_seconds strftime isoformat hexdigest digest tobytes most_common
    """
)
# Methods that give something new of arrays.
COMPUTING_METHODS = _words(
    """
    copy astype round mean sum std var min max argmax argmin argsort cumsum cumprod dot clip repeat tolist item prod any
    all nonzero searchsorted trace ptp
    """
)
# Functions of NumPy that may give what they are given, or a view of it.
_VIEWING = _words(
    """
    asarray asanyarray ascontiguousarray asfortranarray require einsum reshape ravel squeeze transpose
    atleast_1d atleast_2d
    atleast_3d broadcast_to broadcast_arrays expand_dims moveaxis rollaxis swapaxes split array_split hsplit vsplit
    dsplit diagonal diag real imag flip fliplr flipud rot90 nan_to_num array piecewise vectorize frompyfunc
    apply_along_axis apply_over_axes nditer ndenumerate memmap frombuffer lib.stride_tricks.as_strided
    lib.stride_tricks.sliding_window_view
    """
)


# Functions of PyTorch that give new tensors.
_NEW_TENSORS = _words(
    """
    tensor stack cat clone zeros_like ones_like full_like empty_like exp log log1p sqrt softmax log_softmax logsumexp
    tanh sigmoid matmul mm bmm cdist pdist nn.functional.softmax nn.functional.log_softmax
    nn.functional.one_hot
    """
)
_FIXED_MAKERS = _words(
    """
    torch.device re.compile builtins.int builtins.float builtins.str builtins.bool builtins.len builtins.complex
    pathlib.Path pathlib.PurePath decimal.Decimal fractions.Fraction datetime.date datetime.datetime datetime.timedelta
    os.path.join os.path.dirname os.path.basename
    """
)
_CALLING_AT_ONCE = _words(
    """
    builtins.sorted builtins.min builtins.max builtins.map builtins.filter functools.reduce scipy.integrate.quad
    scipy.integrate.odeint scipy.integrate.solve_ivp scipy.optimize.curve_fit scipy.optimize.brentq
    scipy.optimize.minimize scipy.optimize.minimize_scalar scipy.optimize.root scipy.optimize.fsolve
    scipy.optimize.least_squares numpy.apply_along_axis numpy.fromfunction
    """
)
# Functions of NumPy that call what they are given.
_CALLING = _words("vectorize frompyfunc apply_along_axis apply_over_axes piecewise fromfunction fromiter")


def gives_fixed(full: str) -> bool:
    """Whether what a function gives is nothing that could be changed, by its full name."""
    return full in _FIXED_MAKERS or full.startswith("math.")


def calls_at_once(full: str) -> bool:
    """Whether a function calls what it is given before it ends, and keeps nothing of it, by its full name."""
    return full in _CALLING_AT_ONCE


def gives_new(method: str) -> bool:
    """Whether what a method gives is new, all of it."""
    return method in _NEW_METHODS


def computes(full: str) -> bool:
    """Whether a function computes with numbers alone, by its full name: it calls nothing that it is given."""
    top, _, name = full.partition(".")
    return top == "math" or (top == "numpy" and name not in _CALLING and not name[:1].isupper())


def gives_new_array(full: str) -> bool:
    """Whether a function gives a new array, by its full name."""
    top, _, name = full.partition(".")
    if top == "torch":
        return name in _NEW_TENSORS
    return top == "numpy" and name not in _VIEWING and not name[:1].isupper()


def changes_first_only(name: str) -> bool:
    """Whether a function that changes what it is given does so with its first argument alone, as in C++."""
    return name[:1].isupper() and not name.isupper()


def allows_changes(keyword: str, value: object) -> bool:
    """Whether a keyword argument lets a function change its others, as ``overwrite_a=True`` and ``copy=False`` do."""
    keyword = keyword.lower()
    return (keyword.startswith("overwrite") and value is not False) or (keyword.startswith("copy") and value is False)


def is_keeping(name: str) -> bool:
    """Whether a method that changes what it is called on may keep what it is given there, by its name."""
    return name != "load_state_dict" and _KEEPING_NAME.match(name.lower()) is not None


def tells(keyword: str, value: object) -> bool:
    """Whether a keyword argument has a function print what it does."""
    return keyword in TELLING and value not in (False, 0, None, "silent")


def draws_weights(full: str) -> bool:
    """Whether something is made that begins with random weights, by its full name."""
    return _DRAWN_WEIGHTS.match(full) is not None


def draws_random_numbers(name: str, keywords: frozenset[str]) -> bool:
    """Whether something is made that draws random numbers, by its name and the keywords that it is given."""
    if not RANDOM_UNLESS_TOLD.match(name) or keywords & STATES:
        return False
    only_if = RANDOM_ONLY_IF.get(name)
    return only_if is None or only_if in keywords
