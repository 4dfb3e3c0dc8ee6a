# shellcheck shell=bash
# Sourced by install-user and uninstall-user (and tests/installed.rs): the plugin folder, and the list of the installed files.
folder=${XDG_DATA_HOME:-$HOME/.local/share}/gstreamer-1.0/plugins
list=rtmpose.sha256

# put_installed PLUGIN LIBRARY [link]: puts the plugin there, and ONNX Runtime beside it, or a link to it.
put_installed() {
  local file target
  for file in libgstrtmpose.so libonnxruntime.so.1; do
    [ ! -e "$folder/$file" ] || fail "$folder/$file already exists and was not installed by this script: move it away."
  done
  mkdir -p "$folder"
  # The list comes first: an interrupted installation can then be removed, too.
  sha256sum "$1" "$2" | sed 's#  .*/#  #' >"$folder/$list"
  for file in "$1" "$2"; do
    target=$folder/$(basename "$file")
    if [ "${3:-}" = link ] && [ "$file" = "$2" ]; then
      ln -s "$(realpath -s "$file")" "$target"
    else
      cp "$file" "$target.part"
      mv "$target.part" "$target"
    fi
  done
}

# Removes what the list names; a file that is no longer the installed one is left and named.
remove_installed() {
  local sum file
  while read -r sum file; do
    rm -f "$folder/$file.part"
    # Where it leads may be gone already.
    if [ -L "$folder/$file" ]; then
      rm "$folder/$file"
      say "Removed $folder/$file"
      continue
    fi
    if [ ! -e "$folder/$file" ]; then continue; fi
    if [ "$(sha256sum <"$folder/$file")" = "$sum  -" ]; then
      rm "$folder/$file"
      say "Removed $folder/$file"
    else
      say "Left $folder/$file: it is not the file that was installed."
    fi
  done <"$folder/$list"
  rm "$folder/$list"
}
