#!/bin/sh
# Builds Opus with its neural vocoder from Debian's source package, into the folder given.
# Usage: training/spoof/fetch_opus.sh FOLDER   (needs apt-get, a C compiler and make)
set -eu
folder=$1
mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
cd "$folder"
# The mirror that this machine takes its packages from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -1)
cat > apt/debian.sources <<SOURCES
Types: deb-src
URIs: $mirror
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
# A source list of its own: the system's stays as it is.
own="-o Dir::Etc::sourcelist=$PWD/apt/debian.sources -o Dir::Etc::sourceparts=-
  -o Dir::State::lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt"
apt-get $own -q update
apt-get $own -q source --download-only opus
tar xf opus_*.orig.tar.* --strip-components=1
./configure --quiet --enable-deep-plc --enable-dred --disable-shared --disable-doc
make -s
test -x fargan_demo
