"""Which names lead out of a history? A literal table, by the name that an import would give in full."""

from msgspec import Struct

CLOCK, SLEEP, CHANCE, FILES, NETWORK, PROCESSES, GIVEN, THREADS = (f"TL10{number}" for number in range(1, 9))
AS_COMPLETED, LOOP, WAIT_FOR, WAIT_OVER_GATHER = (f"TL20{number}" for number in range(1, 5))


class Use(Struct, frozen=True):
    """A function that is not called in an orchestration.

    Attributes:
        code: Of the rule.
        instead: What to use, where that is not what the rule says.
        unless: With that many arguments or more it is harmless: a seed, a time of one's own.
    """

    code: str
    instead: str | None = None
    unless: int | None = None


def _of(module: str, code: str, names: str, instead: str | None = None) -> dict[str, Use]:
    return {f"{module}.{name}": Use(code, instead) for name in names.split()}


_EVENT = "ctx.wait_event() or ctx.dequeue() here, and a client outside"
_ACTIVITY = "an activity: `await ctx.schedule_activity(f, input)`"
_MODULE_LEVEL = "one made at module level, when the module is imported"

CALLS: dict[str, Use] = {
    # clocks
    **_of("time", CLOCK, "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
          "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns"),
    **dict.fromkeys(["time.localtime", "time.gmtime", "time.ctime", "time.asctime"], Use(CLOCK, unless=1)),
    "time.strftime": Use(CLOCK, unless=2),
    **_of("datetime", CLOCK, "datetime.now datetime.utcnow datetime.today date.today"),
    **_of("pendulum", CLOCK, "now today yesterday tomorrow"),
    **_of("arrow", CLOCK, "now utcnow"),
    **_of("django.utils.timezone", CLOCK, "now"),
    **dict.fromkeys(["django.utils.timezone.localtime", "django.utils.timezone.localdate"], Use(CLOCK, unless=1)),
    **_of("time", SLEEP, "sleep"),
    # chance
    **_of("random", CHANCE, "random uniform triangular randint randrange choice choices sample shuffle getrandbits "
          "randbytes gauss normalvariate lognormvariate expovariate betavariate gammavariate paretovariate "
          "vonmisesvariate weibullvariate binomialvariate seed SystemRandom"),
    **dict.fromkeys(["random.Random", "numpy.random.default_rng", "numpy.random.RandomState"], Use(CHANCE, unless=1)),
    **_of("numpy.random", CHANCE, "rand randn randint random random_sample choice shuffle permutation normal "
          "uniform seed"),
    **_of("uuid", CHANCE, "uuid1 uuid4 uuid6 uuid7 getnode", "ctx.new_guid()"),
    **_of("secrets", CHANCE, "token_bytes token_hex token_urlsafe choice randbelow randbits SystemRandom"),
    **_of("os", CHANCE, "urandom getrandom"),
    # files
    **_of("builtins", FILES, "open"),
    **_of("io", FILES, "open open_code FileIO"),
    **_of("codecs", FILES, "open"),
    **_of("os", FILES, "open listdir scandir walk fwalk mkdir makedirs remove unlink rmdir removedirs rename renames "
          "replace link symlink readlink truncate utime chmod lchmod chown lchown chflags lchflags chdir fchdir "
          "getxattr setxattr listxattr removexattr lockf stat lstat access mkfifo mknod add_dll_directory startfile "
          "listdrives listvolumes listmounts fdopen"),
    **_of("os.path", FILES, "exists lexists isfile isdir islink ismount getsize getmtime getatime getctime realpath"),
    **_of("pathlib", FILES, "Path.cwd Path.home"),
    **_of("shutil", FILES, "copyfile copymode copystat copy copy2 copytree move rmtree chown make_archive "
          "unpack_archive disk_usage which"),
    **_of("tempfile", FILES, "mkstemp mkdtemp mktemp TemporaryFile NamedTemporaryFile SpooledTemporaryFile "
          "TemporaryDirectory gettempdir"),
    **_of("glob", FILES, "glob iglob"),
    **_of("fcntl", FILES, "fcntl flock ioctl lockf"),
    **_of("anyio", FILES, "open_file TemporaryFile NamedTemporaryFile TemporaryDirectory mkstemp mkdtemp"),
    "zoneinfo.ZoneInfo": Use(FILES, _MODULE_LEVEL),
    # network and databases
    **_of("socket", NETWORK, "socket create_connection create_server socketpair fromfd getaddrinfo getnameinfo "
          "gethostbyname gethostbyname_ex gethostbyaddr getservbyname getservbyport getfqdn sethostname"),
    **_of("asyncio", NETWORK, "open_connection start_server open_unix_connection start_unix_server"),
    **_of("anyio", NETWORK, "connect_tcp connect_unix create_tcp_listener create_unix_listener create_udp_socket "
          "create_connected_udp_socket create_unix_datagram_socket getaddrinfo getnameinfo"),
    **_of("urllib.request", NETWORK, "urlopen urlretrieve"),
    **_of("http.client", NETWORK, "HTTPConnection HTTPSConnection"),
    **_of("smtplib", NETWORK, "SMTP SMTP_SSL LMTP"),
    **_of("ftplib", NETWORK, "FTP FTP_TLS"),
    **_of("requests", NETWORK, "get post put patch delete head options request Session session"),
    **_of("httpx", NETWORK, "get post put patch delete head options request stream Client AsyncClient"),
    **_of("aiohttp", NETWORK, "ClientSession request"),
    **_of("urllib3", NETWORK, "PoolManager request"),
    **_of("sqlite3", NETWORK, "connect"),
    **_of("psycopg", NETWORK, "connect AsyncConnection.connect"),
    **_of("psycopg2", NETWORK, "connect"),
    **_of("asyncpg", NETWORK, "connect create_pool"),
    **_of("aiosqlite", NETWORK, "connect"),
    **_of("sqlalchemy", NETWORK, "create_engine"),
    **_of("sqlalchemy.ext.asyncio", NETWORK, "create_async_engine"),
    **_of("redis", NETWORK, "Redis from_url"),
    **_of("redis.asyncio", NETWORK, "Redis from_url"),
    **_of("pymongo", NETWORK, "MongoClient AsyncMongoClient"),
    **_of("boto3", NETWORK, "client resource Session"),
    # processes
    **_of("subprocess", PROCESSES, "run call check_call check_output Popen getoutput getstatusoutput"),
    **_of("asyncio", PROCESSES, "create_subprocess_exec create_subprocess_shell"),
    **_of("anyio", PROCESSES, "run_process open_process to_process.run_sync"),
    **_of("os", PROCESSES, "system popen fork forkpty kill killpg posix_spawn posix_spawnp execl execle execlp execlpe "
          "execv execve execvp execvpe spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe wait waitpid"),
    **_of("multiprocessing", PROCESSES, "Process Pool Queue Manager Pipe"),
    **_of("multiprocessing.pool", PROCESSES, "Pool ThreadPool"),
    # what the process was given
    **_of("os", GIVEN, "getenv getenvb putenv unsetenv getcwd getcwdb getpid getppid getuid getlogin cpu_count uname "
          "getloadavg"),
    **_of("socket", GIVEN, "gethostname"),
    **_of("getpass", GIVEN, "getuser getpass"),
    **_of("platform", GIVEN, "node platform uname system release version machine python_version"),
    **_of("builtins", GIVEN, "input"),
    # threads
    **_of("asyncio", THREADS, "to_thread", _ACTIVITY),
    **_of("anyio", THREADS, "to_thread.run_sync to_interpreter.run_sync", _ACTIVITY),
    **_of("anyio", THREADS, "from_thread.run from_thread.run_sync from_thread.start_blocking_portal"),
    **_of("threading", THREADS, "Thread Timer get_ident get_native_id current_thread"),
    **_of("_thread", THREADS, "start_new_thread start_new start_joinable_thread"),
    **_of("concurrent.futures", THREADS, "ThreadPoolExecutor ProcessPoolExecutor InterpreterPoolExecutor wait "
          "as_completed"),
    # other loops, and futures of theirs
    **_of("asyncio", LOOP, "run Runner new_event_loop set_event_loop set_event_loop_policy get_event_loop_policy"),
    **_of("asyncio", LOOP, "run_coroutine_threadsafe", _EVENT),
    **_of("asyncio", LOOP, "wrap_future", _ACTIVITY),
    **_of("asyncio", LOOP, "create_eager_task_factory eager_task_factory", "asyncio.create_task()"),
    **_of("anyio", LOOP, "run"),
    **_of("uvloop", LOOP, "run new_event_loop install"),
    **_of("trio", LOOP, "run"),
    **_of("concurrent.futures", LOOP, "Future", "asyncio.get_running_loop().create_future()"),
    **_of("signal", LOOP, "signal alarm setitimer", _EVENT),
}  # fmt: skip
"""What is not called."""

READS: dict[str, Use] = {
    "os.environ": Use(GIVEN),
    "os.environb": Use(GIVEN),
    "sys.argv": Use(GIVEN),
    "sys.stdin": Use(GIVEN),
}
"""What is not even looked at."""

INSTANCE_OF: dict[str, str] = {
    "pathlib.Path": "pathlib.Path",
    "anyio.Path": "pathlib.Path",
    "asyncio.get_running_loop": "asyncio.loop",
    "asyncio.get_event_loop": "asyncio.loop",
    "builtins.set": "set",
    "builtins.frozenset": "set",
}
"""What a call of this returns an instance of."""

ANNOTATED: dict[str, str] = {
    "pathlib.Path": "pathlib.Path",
    "anyio.Path": "pathlib.Path",
    "asyncio.AbstractEventLoop": "asyncio.loop",
    "builtins.set": "set",
    "builtins.frozenset": "set",
    "collections.abc.Set": "set",
    "collections.abc.MutableSet": "set",
    "typing.AbstractSet": "set",
    "engine.OrchestrationContext": "ctx",
    "engine.replay.context.OrchestrationContext": "ctx",
}
"""What a parameter or variable with this annotation is an instance of."""

METHODS: dict[str, Use] = {
    **_of("pathlib.Path", FILES, "open read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink "
          "stat lstat iterdir glob rglob walk mkdir rmdir unlink rename replace touch chmod lchmod symlink_to "
          "hardlink_to readlink samefile owner group resolve expanduser cwd home is_mount"),
    **_of("asyncio.loop", THREADS, "run_in_executor", _ACTIVITY),
    **_of("asyncio.loop", THREADS, "set_default_executor shutdown_default_executor"),
    **_of("asyncio.loop", LOOP, "call_soon_threadsafe add_signal_handler remove_signal_handler", _EVENT),
    **_of("asyncio.loop", LOOP, "run_until_complete"),
    **_of("asyncio.loop", LOOP, "run_forever stop close set_debug shutdown_asyncgens",
          "nothing: the loop of an orchestration is driven by its turns"),
    **_of("asyncio.loop", LOOP, "set_exception_handler get_exception_handler default_exception_handler",
          "nothing: an exception ends the orchestration"),
    **_of("asyncio.loop", LOOP, "set_task_factory", "asyncio.create_task()"),
    **_of("asyncio.loop", NETWORK, "add_reader remove_reader add_writer remove_writer connect_accepted_socket "
          "connect_read_pipe connect_write_pipe create_connection create_datagram_endpoint create_server "
          "create_unix_connection create_unix_server getaddrinfo getnameinfo sendfile start_tls sock_accept "
          "sock_connect sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile "
          "sock_sendto"),
    **_of("asyncio.loop", PROCESSES, "subprocess_exec subprocess_shell"),
}  # fmt: skip
"""What is not called of an instance, by its kind and the method."""

CALLERS: frozenset[str] = frozenset(
    {
        "builtins.map", "builtins.filter", "builtins.sorted", "builtins.min", "builtins.max",
        "functools.partial", "functools.reduce", "contextlib.closing",
    }
)  # fmt: skip
"""Functions that call a function they are given."""

CALLER_METHODS: frozenset[str] = frozenset(
    {
        "start_soon",
        "start",
        "call_soon",
        "call_later",
        "call_at",
        "add_done_callback",
        "callback",
        "push_async_callback",
    }
)
"""Methods that do, whoever has them."""
