#!/bin/sh
# For whoever changes java/: compiles it into smali/, which is what bundles are built from, because no Java-to-dex
# compiler is in current Debian releases. Needs javac, baksmali (libsmali-java), and of Debian 11 dalvik-exchange and
# libandroid-23-java: name their jars, which `dpkg -x` unpacks without installing.
#   DX=dx.jar ANDROID=android.jar ./assemble_smali.sh
set -eu
cd -- "$(dirname -- "$0")"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mkdir "$work/stubs" "$work/classes"
javac -nowarn -source 8 -target 8 -bootclasspath "$ANDROID" -d "$work/stubs" stubs/android/webkit/*.java
javac -Xlint:-options -Werror -source 8 -target 8 -bootclasspath "$work/stubs:$ANDROID" -g:none -d "$work/classes" \
  java/org/edgesr/sample/*.java
java -cp "$DX" com.android.dx.command.Main --dex --min-sdk-version=24 --output="$work/classes.dex" "$work/classes"
rm -rf smali
jars=/usr/share/java
java -cp "$jars/baksmali.jar:$jars/smali-util.jar:$jars/dexlib2.jar:$jars/guava.jar:$jars/jcommander.jar" \
  org.jf.baksmali.Main disassemble --api 24 --debug-info false --output smali "$work/classes.dex"
cat java/org/edgesr/sample/*.java | sha256sum | cut -d' ' -f1 >smali/made_from
