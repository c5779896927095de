# Sourced: `find_python` prints the name of a Python from 3.11 to 3.14 that can make a virtual environment.
# On Debian and Ubuntu `venv` is a package of its own: as root it is installed, otherwise one line asks for it.
. ./.ci/debian.sh

find_python() {
	fitting=$(first_python "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))")
	if [ -z "$fitting" ]; then
		wanted="$wanted python3 python3-venv"
		install_wanted || return 1
		fitting=$(first_python "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))")
	fi
	if [ -z "$fitting" ]; then
		echo "no Python from 3.11 to 3.14 found: install one, or name it with PYTHON3=/path/to/python3" >&2
		return 1
	fi
	if ! "$fitting" -c 'import ensurepip, venv' >/dev/null 2>&1; then
		version=$("$fitting" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
		wanted="$wanted python$version-venv"
		install_wanted || return 1
	fi
	echo "$fitting"
}

first_python() {
	for name in ${PYTHON3:-python3 python3.14 python3.13 python3.12 python3.11}; do
		if command -v "$name" >/dev/null 2>&1 && "$name" -c "$1" >/dev/null 2>&1; then
			command -v "$name"
			return 0
		fi
	done
}
