#!/usr/bin/env python3
"""Makes tests/corpus/media: tiny media files, and beside them expected.json with what ffprobe says about them.

Needs ffmpeg (apt install ffmpeg). The files are committed; run this again to add one or to check them against a newer
ffprobe. Durations of files whose headers give none are those of the packets, for ffprobe guesses them by the bit rate.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "media"
VIDEO = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1.3"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=1.3"]
BITEXACT = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "40", "-pix_fmt", "yuv420p"]
AAC = ["-c:a", "aac", "-b:a", "24k"]

# name: arguments after the inputs. VIDEO and SOUND are always given, in this order.
BOTH = {
    "h264_aac.mp4": [*X264, *AAC],
    "faststart.mp4": [*X264, *AAC, "-movflags", "+faststart"],
    "fragmented.mp4": [*X264, *AAC, "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-g", "5"],
    "anamorphic.mp4": [*X264, *AAC, "-vf", "setsar=4/3"],
    "hevc.mp4": ["-c:v", "libx265", "-crf", "40", "-x265-params", "log-level=none", "-tag:v", "hvc1", *AAC],
    "mpeg4_mp3.mp4": ["-c:v", "mpeg4", "-q:v", "31", "-c:a", "libmp3lame", "-b:a", "32k"],
    "mjpeg_pcm.mov": ["-c:v", "mjpeg", "-s", "32x24", "-q:v", "31", "-r", "5", "-c:a", "pcm_s16le", "-ar", "8000"],
    "h263_aac.3gp": ["-c:v", "h263", "-s", "128x96", "-q:v", "31", *AAC],
    "vp8_vorbis.webm": ["-c:v", "libvpx", "-b:v", "20k", "-c:a", "libvorbis", "-q:a", "0"],
    "vp9_opus.webm": ["-c:v", "libvpx-vp9", "-b:v", "20k", "-c:a", "libopus", "-b:a", "16k"],
    "h264_flac.mkv": [*X264, "-c:a", "flac", "-ar", "8000"],
    # The codecs have other names in Matroska, or none, or the container's number of channels is not theirs.
    "ffv1_pcm24.mkv": ["-c:v", "ffv1", "-s", "16x12", "-r", "2", "-c:a", "pcm_s24le", "-ar", "2000"],
    "h264_ac3.mp4": [*X264, "-c:a", "ac3", "-b:a", "40k", "-ac", "1"],
    "anamorphic.mkv": [*X264, *AAC, "-vf", "setsar=4/3"],
    "mjpeg_pcm.avi": ["-c:v", "mjpeg", "-s", "32x24", "-q:v", "31", "-r", "5", "-c:a", "pcm_u8", "-ar", "4000"],
    "mpeg4_mp3.avi": ["-c:v", "mpeg4", "-q:v", "31", "-c:a", "libmp3lame", "-b:a", "32k"],
    "theora_vorbis.ogv": ["-c:v", "libtheora", "-q:v", "0", "-c:a", "libvorbis", "-q:a", "0"],
}
VIDEO_ONLY = {
    "silent.mp4": [*X264],
    "av1.mp4": ["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "60"],
    "variable.mp4": [*X264, "-vf", "setpts='if(gt(N,7),PTS*1.5,PTS)'", "-vsync", "vfr"],
}
SOUND_ONLY = {
    "aac.m4a": AAC,
    "alac.m4a": ["-c:a", "alac", "-ar", "8000"],
    "mono.aac": [*AAC, "-f", "adts"],
    "stereo.aac": [*AAC, "-ac", "2", "-ar", "48000", "-f", "adts"],
    "cbr.mp3": ["-c:a", "libmp3lame", "-b:a", "48k", "-write_xing", "0", "-id3v2_version", "0"],
    "vbr_xing.mp3": ["-c:a", "libmp3lame", "-q:a", "8"],
    "vbr_counted.mp3": ["-c:a", "libmp3lame", "-q:a", "8", "-write_xing", "0"],
    "tagged.mp3": ["-c:a", "libmp3lame", "-b:a", "32k", "-metadata", "title=A title", "-write_id3v1", "1"],
    "low_rate.mp3": ["-c:a", "libmp3lame", "-b:a", "16k", "-ar", "22050"],
    "layer2.mp2": ["-c:a", "mp2", "-b:a", "64k"],
    "pcm16.wav": ["-c:a", "pcm_s16le", "-ar", "8000"],
    "pcm24_stereo.wav": ["-c:a", "pcm_s24le", "-ac", "2", "-ar", "3000"],
    "float.wav": ["-c:a", "pcm_f32le", "-ar", "4000"],
    "adpcm.wav": ["-c:a", "adpcm_ima_wav", "-ar", "8000"],
    "rf64.wav": ["-c:a", "pcm_s16le", "-ar", "8000", "-rf64", "always"],
    "mulaw.wav": ["-c:a", "pcm_mulaw", "-ar", "8000"],
    "mono.flac": ["-c:a", "flac", "-ar", "16000"],
    "vorbis.ogg": ["-c:a", "libvorbis", "-q:a", "0"],
    "opus.opus": ["-c:a", "libopus", "-b:a", "16k"],
    "speex.ogg": ["-c:a", "libspeex", "-ar", "16000"],
    "flac.ogg": ["-c:a", "flac", "-ar", "8000", "-f", "ogg"],
    "opus.mka": ["-c:a", "libopus", "-b:a", "16k"],
}
# Written to a pipe: sizes and durations are not filled in afterwards.
PIPED = {
    "live.webm": (VIDEO + SOUND, ["-c:v", "libvpx", "-b:v", "20k", "-c:a", "libopus", "-b:a", "16k", "-live", "1", "-f", "webm"]),
    "piped.mkv": (VIDEO + SOUND, [*X264, *AAC, "-f", "matroska"]),
    "piped.wav": (SOUND, ["-c:a", "pcm_s16le", "-ar", "8000", "-f", "wav"]),
    "piped.flac": (SOUND, ["-c:a", "flac", "-ar", "16000", "-f", "flac"]),
}
# The duration is that of the packets.
BY_PACKETS = {"mono.aac", "stereo.aac", "cbr.mp3", "vbr_counted.mp3", "layer2.mp2", "live.webm", "piped.mkv", "piped.flac"}


def ffmpeg(inputs, arguments, output):
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *BITEXACT, *arguments, str(output)]
    subprocess.run(command, check=True)


def ffprobe(path, *arguments):
    command = ["ffprobe", "-v", "quiet", "-of", "json", *arguments, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def fraction(text):
    if not text or text in ("0/0", "0:1", "N/A"):
        return None
    above, below = text.replace(":", "/").split("/")
    return int(above) / int(below) if int(below) else None


def expected(path):
    said = ffprobe(path, "-show_format", "-show_streams")
    video = next((s for s in said["streams"] if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]), None)
    audio = next((s for s in said["streams"] if s["codec_type"] == "audio"), None)
    facts = {"has_video": video is not None, "has_audio": audio is not None}
    if path.name in BY_PACKETS or "duration" not in said["format"]:
        packets = ffprobe(path, "-show_packets")["packets"]
        ends = [float(p["pts_time"]) + float(p.get("duration_time", 0)) for p in packets if "pts_time" in p]
        facts["duration_seconds"] = round(max(ends), 3)
    else:
        facts["duration_seconds"] = round(float(said["format"]["duration"]), 3)
    if video:
        width, height = video["width"], video["height"]
        width = round(width * (fraction(video.get("sample_aspect_ratio")) or 1))
        turned = any(abs(int(s.get("rotation", 0))) in (90, 270) for s in video.get("side_data_list", []))
        facts["width"], facts["height"] = (height, width) if turned else (width, height)
        facts["video_codec"] = video["codec_name"]
        rate = fraction(video.get("avg_frame_rate"))
        facts["frame_rate"] = round(rate, 3) if rate else None
    if audio:
        facts["audio_codec"] = audio["codec_name"]
        facts["sample_rate"] = int(audio["sample_rate"])
        facts["channels"] = audio["channels"]
    return facts


def derived(at):
    """Files made from others, byte by byte."""
    ffmpeg(["-i", str(at / "h264_aac.mp4")], ["-c", "copy", "-metadata:s:v:0", "rotate=90"], at / "rotated.mp4")
    ffmpeg(["-ss", "0.45", "-i", str(at / "h264_aac.mp4")], ["-c", "copy"], at / "edited.mp4")
    plain = (at / "h264_aac.mp4").read_bytes()
    # ffmpeg leaves an empty free box before mdat so that there is room for the size of 64 bits.
    place = plain.index(b"\0\0\0\x08free")
    assert plain[place + 12 : place + 16] == b"mdat"
    size = int.from_bytes(plain[place + 8 : place + 12], "big") + 8
    long = b"\0\0\0\x01mdat" + size.to_bytes(8, "big")
    (at / "long_size.mp4").write_bytes(plain[:place] + long + plain[place + 16 :])
    (at / "no_stts.mp4").write_bytes(plain.replace(b"stts", b"sttX"))
    cover = at / "cover.png"
    ffmpeg(["-f", "lavfi", "-i", "color=red:size=16x16:duration=1"], ["-frames:v", "1"], cover)
    pictured = ["-map", "0:a", "-map", "1:v", "-c", "copy", "-disposition:v", "attached_pic"]
    ffmpeg(["-i", str(at / "aac.m4a"), "-i", str(cover)], pictured, at / "cover.m4a")
    ffmpeg(["-i", str(at / "tagged.mp3"), "-i", str(cover)], pictured, at / "cover.mp3")
    cover.unlink()
    vorbis, opus = (at / "vorbis.ogg").read_bytes(), (at / "opus.opus").read_bytes()
    (at / "chained.ogg").write_bytes(vorbis + opus)


def main():
    if not shutil.which("ffmpeg"):
        raise SystemExit("ffmpeg is missing: apt install ffmpeg")
    with tempfile.TemporaryDirectory() as directory:
        at = pathlib.Path(directory)
        for name, arguments in BOTH.items():
            ffmpeg(VIDEO + SOUND, arguments, at / name)
        for name, arguments in VIDEO_ONLY.items():
            ffmpeg(VIDEO, arguments, at / name)
        for name, arguments in SOUND_ONLY.items():
            ffmpeg(SOUND, arguments, at / name)
        for name, (inputs, arguments) in PIPED.items():
            command = ["ffmpeg", "-nostdin", "-v", "error", *inputs, *BITEXACT, *arguments, "pipe:1"]
            (at / name).write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        derived(at)
        facts = {}
        for path in sorted(at.iterdir()):
            assert path.stat().st_size < 32_000, f"{path.name}: {path.stat().st_size} bytes"
            facts[path.name] = expected(at / "h264_aac.mp4") if path.name == "no_stts.mp4" else expected(path)
        # The time-to-sample table is what the frame rate is known by.
        facts["no_stts.mp4"]["frame_rate"] = None
        # The container says two channels for MP3 whatever it is, so nothing is said.
        facts["mpeg4_mp3.mp4"]["channels"] = None
        # ffprobe measures the first of two chained streams; people hear both.
        facts["chained.ogg"]["duration_seconds"] = round(
            facts["vorbis.ogg"]["duration_seconds"] + facts["opus.opus"]["duration_seconds"], 3
        )
        HERE.mkdir(parents=True, exist_ok=True)
        for path in sorted(at.iterdir()):
            shutil.copy(path, HERE / path.name)
        text = json.dumps(facts, indent=1, sort_keys=True)
        (HERE / "expected.json").write_text(text + "\n")
        print(f"{len(facts)} files, {sum(p.stat().st_size for p in HERE.iterdir())} bytes in {HERE}")


if __name__ == "__main__":
    main()
