# Sourced: `want COMMAND:PACKAGE` notes what is missing, `install_wanted` gets it from Debian.
# Fails, with one line that names the packages, when it cannot (not root, or no apt-get).
wanted=

want() {
	PATH="$PATH:/usr/sbin:/sbin" command -v "${1%%:*}" >/dev/null 2>&1 || wanted="$wanted ${1#*:}"
}

install_wanted() {
	[ -z "$wanted" ] && return 0
	if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
		apt-get update -qq >/dev/null 2>&1
		# shellcheck disable=SC2086 - one word per package
		if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null 2>&1; then
			wanted=
			return 0
		fi
	fi
	echo "missing:$wanted: install with: apt-get install$wanted" >&2
	return 1
}
