"""A seccomp filter for one untrusted process: no children, no signals to others, no sockets, little of the kernel.

Hand-assembled BPF, because the only binding of libseccomp on PyPI has had no release since 2021 and needs the
system's library. What it does not name is allowed: it narrows a sandbox, and is none by itself.
"""

import errno
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF: ld [k], jeq, jge, jset, ret
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_X32 = 0x40000000  # the flag of x86-64's second system-call table
_CLONE_THREAD = 0x00010000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Name: numbers on x86-64 and aarch64; one number where they agree.
_DENIED: dict[str, tuple[int | None, ...]] = {
    # Other processes: none are made, and none of those that are there are touched.
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424,),
    "pidfd_open": (434,),
    "pidfd_getfd": (438,),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440,),
    "kcmp": (312, 272),
    # Memory that RLIMIT_AS does not count.
    "memfd_create": (319, 279),
    "memfd_secret": (447,),
    "shmget": (29, 194),
    "msgget": (68, 186),
    # Network, name spaces and mounts.
    "socket": (41, 198),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428,),
    "move_mount": (429,),
    "fsopen": (430,),
    "fsconfig": (431,),
    "fsmount": (432,),
    "fspick": (433,),
    "mount_setattr": (442,),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Wide doors into the kernel that no tested program needs.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425,),
    "io_uring_enter": (426,),
    "io_uring_register": (427,),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
}
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435,), (302, 261)


def seccomp_filter(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`, for `os.uname().machine`. Raises ValueError for an unknown one.

    Threads are allowed (clone3 is answered "not implemented", after which libc takes clone, whose flags can be seen).
    """
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no system-call filter for the processor {machine!r}; known are {', '.join(_ARCHITECTURES)}")
    column = list(_ARCHITECTURES).index(machine)
    steps = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHITECTURES[machine], skip_if_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, skip_if_false=1),
        _step(_RETURN, _KILL),
    ]
    for numbers in _DENIED.values():
        number = _of(numbers, column)
        if number is not None:
            steps += [_step(_EQUAL, number, skip_if_false=1), _step(_RETURN, _ERRNO | errno.EPERM)]
    steps += [_step(_EQUAL, _of(_CLONE3, column), skip_if_false=1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    steps += _allowed_if(_of(_CLONE, column), _step(_ANY_BIT, _CLONE_THREAD, skip_if_false=1))
    steps += _allowed_if(_of(_PRLIMIT, column), _step(_EQUAL, 0, skip_if_false=1))  # of the process itself
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _allowed_if(number: int | None, first_argument: bytes) -> list[bytes]:
    """A system call that is allowed where its first argument passes a test, and otherwise refused."""
    return [
        _step(_EQUAL, number, skip_if_false=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        first_argument,
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]


def _of(numbers: tuple[int | None, ...], column: int) -> int | None:
    return numbers[column] if len(numbers) > 1 else numbers[0]


def _step(code: int, value: int | None, *, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    assert value is not None, "a system call that this processor has"
    return struct.pack("<HBBI", code, skip_if_true, skip_if_false, value)
