package trace

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A constant is one, or a flag, and its name.
type constant struct {
	value uint64
	name  string
}

func named(names []constant, v uint64) string {
	for _, c := range names {
		if c.value == v&0xffffffff {
			return c.name
		}
	}
	return strconv.FormatInt(signed(v), 10)
}

// flagNames are those of the flags that are set, and the rest in hex.
func flagNames(names []constant, v uint64) string {
	var set []string
	for _, c := range names {
		if c.value != 0 && v&c.value == c.value {
			set = append(set, c.name)
			v &^= c.value
		}
	}
	if v != 0 {
		set = append(set, "0x"+strconv.FormatUint(v, 16))
	}
	if len(set) == 0 {
		return "0"
	}
	return strings.Join(set, "|")
}

// Kinds of parameters that are one of several constants, and those that are flags.
var (
	nameKinds = map[string][]constant{
		"af": families, "sol": levels, "epollop": {{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"}, {unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"}, {unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"}},
		"how":   {{unix.SHUT_RD, "SHUT_RD"}, {unix.SHUT_WR, "SHUT_WR"}, {unix.SHUT_RDWR, "SHUT_RDWR"}},
		"fcntl": {{unix.F_DUPFD, "F_DUPFD"}, {unix.F_GETFD, "F_GETFD"}, {unix.F_SETFD, "F_SETFD"}, {unix.F_GETFL, "F_GETFL"}, {unix.F_SETFL, "F_SETFL"}, {unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"}},
		"prctl": {{unix.PR_SET_NAME, "PR_SET_NAME"}, {unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"}, {unix.PR_SET_VMA, "PR_SET_VMA"}, {unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"}, {unix.PR_CAPBSET_READ, "PR_CAPBSET_READ"}},
	}
	flagKinds = map[string][]constant{
		"sock": socketFlags, "epollflags": {{unix.EPOLL_CLOEXEC, "EPOLL_CLOEXEC"}}, "eventfd": {{unix.EFD_SEMAPHORE, "EFD_SEMAPHORE"}, {unix.EFD_CLOEXEC, "EFD_CLOEXEC"}, {unix.EFD_NONBLOCK, "EFD_NONBLOCK"}},
		"clone": cloneFlags,
		"prot":  {{unix.PROT_READ, "PROT_READ"}, {unix.PROT_WRITE, "PROT_WRITE"}, {unix.PROT_EXEC, "PROT_EXEC"}},
		"map": {{unix.MAP_SHARED, "MAP_SHARED"}, {unix.MAP_PRIVATE, "MAP_PRIVATE"}, {unix.MAP_FIXED, "MAP_FIXED"}, {unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"}, {unix.MAP_NORESERVE, "MAP_NORESERVE"},
			{unix.MAP_STACK, "MAP_STACK"}, {unix.MAP_DENYWRITE, "MAP_DENYWRITE"}, {unix.MAP_POPULATE, "MAP_POPULATE"}, {unix.MAP_HUGETLB, "MAP_HUGETLB"}, {unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"}},
		"open": {{unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"}, {unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"},
			{unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"}, {unix.O_NOCTTY, "O_NOCTTY"}},
		"msg": {{unix.MSG_PEEK, "MSG_PEEK"}, {unix.MSG_DONTWAIT, "MSG_DONTWAIT"}, {unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}, {unix.MSG_TRUNC, "MSG_TRUNC"}, {unix.MSG_WAITALL, "MSG_WAITALL"},
			{unix.MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"}, {unix.MSG_ERRQUEUE, "MSG_ERRQUEUE"}},
		"futex": {{128, "FUTEX_PRIVATE"}, {256, "FUTEX_CLOCK_REALTIME"}, {9, "FUTEX_WAIT_BITSET"}, {1, "FUTEX_WAKE"}},
	}
)

var (
	families = []constant{{unix.AF_UNSPEC, "AF_UNSPEC"}, {unix.AF_UNIX, "AF_UNIX"}, {unix.AF_INET, "AF_INET"}, {unix.AF_INET6, "AF_INET6"}, {unix.AF_NETLINK, "AF_NETLINK"},
		{unix.AF_PACKET, "AF_PACKET"}, {unix.AF_VSOCK, "AF_VSOCK"}}
	socketTypes = []constant{{unix.SOCK_STREAM, "SOCK_STREAM"}, {unix.SOCK_DGRAM, "SOCK_DGRAM"}, {unix.SOCK_RAW, "SOCK_RAW"}, {unix.SOCK_SEQPACKET, "SOCK_SEQPACKET"}}
	socketFlags = []constant{{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"}, {unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"}}
	levels      = []constant{{unix.SOL_SOCKET, "SOL_SOCKET"}, {unix.IPPROTO_IP, "IPPROTO_IP"}, {unix.IPPROTO_TCP, "IPPROTO_TCP"}, {unix.IPPROTO_UDP, "IPPROTO_UDP"}, {unix.IPPROTO_IPV6, "IPPROTO_IPV6"}}

	socketOptions = []constant{{unix.SO_DEBUG, "SO_DEBUG"}, {unix.SO_REUSEADDR, "SO_REUSEADDR"}, {unix.SO_TYPE, "SO_TYPE"}, {unix.SO_ERROR, "SO_ERROR"}, {unix.SO_BROADCAST, "SO_BROADCAST"},
		{unix.SO_SNDBUF, "SO_SNDBUF"}, {unix.SO_RCVBUF, "SO_RCVBUF"}, {unix.SO_KEEPALIVE, "SO_KEEPALIVE"}, {unix.SO_LINGER, "SO_LINGER"}, {unix.SO_REUSEPORT, "SO_REUSEPORT"},
		{unix.SO_PASSCRED, "SO_PASSCRED"}, {unix.SO_RCVTIMEO, "SO_RCVTIMEO"}, {unix.SO_SNDTIMEO, "SO_SNDTIMEO"}, {unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER"}, {unix.SO_TIMESTAMP, "SO_TIMESTAMP"},
		{unix.SO_ACCEPTCONN, "SO_ACCEPTCONN"}, {unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE"}, {unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE"}, {unix.SO_MARK, "SO_MARK"}, {unix.SO_PROTOCOL, "SO_PROTOCOL"},
		{unix.SO_DOMAIN, "SO_DOMAIN"}, {unix.SO_RXQ_OVFL, "SO_RXQ_OVFL"}, {unix.SO_BUSY_POLL, "SO_BUSY_POLL"}, {unix.SO_INCOMING_CPU, "SO_INCOMING_CPU"}, {unix.SO_ATTACH_BPF, "SO_ATTACH_BPF"},
		{unix.SO_BINDTODEVICE, "SO_BINDTODEVICE"}, {unix.SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF"}, {unix.SO_ATTACH_REUSEPORT_EBPF, "SO_ATTACH_REUSEPORT_EBPF"}}
	tcpOptions = []constant{{unix.TCP_NODELAY, "TCP_NODELAY"}, {unix.TCP_MAXSEG, "TCP_MAXSEG"}, {unix.TCP_CORK, "TCP_CORK"}, {unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}, {unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"},
		{unix.TCP_KEEPCNT, "TCP_KEEPCNT"}, {unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"}, {unix.TCP_INFO, "TCP_INFO"}, {unix.TCP_QUICKACK, "TCP_QUICKACK"}, {unix.TCP_CONGESTION, "TCP_CONGESTION"},
		{unix.TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"}, {unix.TCP_FASTOPEN, "TCP_FASTOPEN"}}
	ipOptions = []constant{{unix.IP_TOS, "IP_TOS"}, {unix.IP_TTL, "IP_TTL"}, {unix.IP_PKTINFO, "IP_PKTINFO"}, {unix.IP_MTU_DISCOVER, "IP_MTU_DISCOVER"}, {unix.IP_FREEBIND, "IP_FREEBIND"},
		{unix.IP_TRANSPARENT, "IP_TRANSPARENT"}, {unix.IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"}, {80, "SO_ORIGINAL_DST"}}
	ip6Options = []constant{{unix.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"}, {unix.IPV6_V6ONLY, "IPV6_V6ONLY"}, {unix.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"}, {unix.IPV6_TRANSPARENT, "IPV6_TRANSPARENT"},
		{unix.IPV6_FREEBIND, "IPV6_FREEBIND"}, {unix.IPV6_TCLASS, "IPV6_TCLASS"}, {80, "IP6T_SO_ORIGINAL_DST"}}

	epollEvents = []constant{{unix.EPOLLIN, "EPOLLIN"}, {unix.EPOLLPRI, "EPOLLPRI"}, {unix.EPOLLOUT, "EPOLLOUT"}, {unix.EPOLLERR, "EPOLLERR"}, {unix.EPOLLHUP, "EPOLLHUP"},
		{unix.EPOLLRDHUP, "EPOLLRDHUP"}, {unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"}, {unix.EPOLLWAKEUP, "EPOLLWAKEUP"}, {unix.EPOLLONESHOT, "EPOLLONESHOT"}, {unix.EPOLLET & 0xffffffff, "EPOLLET"}}
	cloneFlags = []constant{{unix.CLONE_VM, "CLONE_VM"}, {unix.CLONE_FS, "CLONE_FS"}, {unix.CLONE_FILES, "CLONE_FILES"}, {unix.CLONE_SIGHAND, "CLONE_SIGHAND"}, {unix.CLONE_VFORK, "CLONE_VFORK"},
		{unix.CLONE_THREAD, "CLONE_THREAD"}, {unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"}, {unix.CLONE_SETTLS, "CLONE_SETTLS"}, {unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
		{unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"}, {unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"}}
)
