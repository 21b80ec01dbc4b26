package test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// screenshot is what a browser shows of a file, in a window of so many pixels. The file's name may end in #FRAGMENT. Further flags are Chromium's.
func screenshot(t testing.TB, page string, width, height int, flags ...string) image.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "screenshot.png")
	chromium(t, page, append(flags, "--screenshot="+file, fmt.Sprintf("--window-size=%d,%d", width, height))...)
	return readPNG(t, file)
}

// dom is the document of a file as the browser has it when its scripts have run.
func dom(t testing.TB, page string, flags ...string) string {
	t.Helper()
	return chromium(t, page, append(flags, "--dump-dom")...)
}

// lightMode and darkMode are what the user prefers (prefers-color-scheme).
const (
	darkMode  = "--blink-settings=preferredColorScheme=0"
	lightMode = "--blink-settings=preferredColorScheme=1"
)

// chromium opens a file and returns the browser's standard output. It has a network of its own, in which there is nothing: what a page
// fetches from elsewhere is missing.
func chromium(t testing.TB, page string, flags ...string) string {
	t.Helper()
	path, fragment, _ := strings.Cut(page, "#")
	path, err := filepath.Abs(path)
	must(t, err)
	address := url.URL{Scheme: "file", Path: path, Fragment: fragment}
	home := t.TempDir()
	// No GPU and no sub-pixels: the same picture on any machine. Root has no sandbox.
	args := append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-extensions", "--disable-lcd-text", "--font-render-hinting=none", "--force-color-profile=srgb", "--force-device-scale-factor=1",
		"--hide-scrollbars", "--user-data-dir=" + home, "--timeout=60000",
	}, flags...)
	cmd := exec.Command("chromium", append(args, address.String())...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNET}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = patience
	must(t, cmd.Start())
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with its children
	stuck := time.AfterFunc(4*patience, end)
	err = cmd.Wait()
	if !stuck.Stop() {
		t.Fatalf("%v does not end:\n%s", cmd.Args, said.String())
	}
	end()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, said.String())
	}
	return out.String()
}

// looksAs compares a picture with testdata/NAME.png. Letters may be drawn a little otherwise by another version of the browser: what is compared
// is blocks of pixels. ENVOYSHIM_TEST_UPDATE=1 makes the file anew; look at it before it is committed.
func looksAs(t testing.TB, name string, got image.Image) {
	t.Helper()
	golden := filepath.Join("testdata", name+".png")
	if os.Getenv("ENVOYSHIM_TEST_UPDATE") != "" {
		writePNG(t, golden, got)
		return
	}
	if _, err := os.Stat(golden); errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is no %s: ENVOYSHIM_TEST_UPDATE=1 makes it", golden)
	}
	share, difference := compare(readPNG(t, golden), got)
	if share <= tolerated {
		return
	}
	dir, err := os.MkdirTemp("", "envoyshim-test-picture-")
	must(t, err)
	writePNG(t, filepath.Join(dir, name+".png"), got)
	writePNG(t, filepath.Join(dir, name+".diff.png"), difference)
	t.Errorf("%.1f %% of the picture differs from %s: see %s", 100*share, golden, dir)
}

const (
	block     = 6    // the side of a block, in pixels
	shade     = 20   // by how much the mean colour of two blocks may differ, of 255
	tolerated = 0.01 // the share of blocks that may differ more
)

// compare returns the share of blocks that differ, and a picture of them.
func compare(want, got image.Image) (share float64, difference image.Image) {
	bounds := want.Bounds().Union(got.Bounds())
	shown := image.NewRGBA(bounds)
	all, other := 0, 0
	for y := bounds.Min.Y; y < bounds.Max.Y; y += block {
		for x := bounds.Min.X; x < bounds.Max.X; x += block {
			all++
			at := image.Rect(x, y, x+block, y+block)
			paint := color.RGBA{A: 255}
			if !alike(want, got, at) {
				other++
				paint = color.RGBA{R: 255, A: 255}
			}
			for i := at.Min.Y; i < at.Max.Y; i++ {
				for j := at.Min.X; j < at.Max.X; j++ {
					shown.SetRGBA(j, i, paint)
				}
			}
		}
	}
	return float64(other) / float64(max(all, 1)), shown
}

func alike(a, b image.Image, at image.Rectangle) bool {
	p, q := mean(a, at), mean(b, at)
	for i := range p {
		if p[i]-q[i] > shade || q[i]-p[i] > shade {
			return false
		}
	}
	return true
}

func mean(of image.Image, at image.Rectangle) (rgb [3]int) {
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			r, g, b, _ := of.At(x, y).RGBA()
			rgb[0], rgb[1], rgb[2] = rgb[0]+int(r>>8), rgb[1]+int(g>>8), rgb[2]+int(b>>8)
		}
	}
	for i := range rgb {
		rgb[i] /= at.Dx() * at.Dy()
	}
	return rgb
}

func readPNG(t testing.TB, file string) image.Image {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return picture
}

func writePNG(t testing.TB, file string, picture image.Image) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	var b bytes.Buffer
	must(t, png.Encode(&b, picture))
	must(t, os.WriteFile(file, b.Bytes(), 0o644))
}

// The browser shows what a page's script made of it, and pictures that differ are told apart.
func TestBrowser(t *testing.T) {
	page := filepath.Join(sharedDir(t), "page.html")
	must(t, os.WriteFile(page, []byte(`<!doctype html><meta name="color-scheme" content="light dark">
<style>body { margin: 0; background: white } @media (prefers-color-scheme: dark) { body { background: black } }</style>
<p id="p"></p><script>document.getElementById('p').textContent = 'fragment ' + location.hash + (navigator.onLine ? '' : ', no network')</script>
<div style="position: absolute; left: 10px; top: 100px; width: 100px; height: 50px; background: #0000ff"></div>`), 0o644))
	contains(t, dom(t, page+"#x=1"), `<p id="p">fragment #x=1`)
	light, dark := screenshot(t, page, 300, 200, lightMode), screenshot(t, page, 300, 200, darkMode)
	if got := light.Bounds(); got != image.Rect(0, 0, 300, 200) {
		t.Errorf("a picture of %v", got)
	}
	blue := color.RGBA{B: 255, A: 255}
	for _, picture := range []image.Image{light, dark} {
		if got := color.RGBAModel.Convert(picture.At(50, 120)); got != blue {
			t.Errorf("%v is not blue", got)
		}
	}
	if share, _ := compare(light, light); share != 0 {
		t.Errorf("a picture differs from itself by %f", share)
	}
	if share, _ := compare(light, dark); share < 0.8 {
		t.Errorf("black and white differ by no more than %f", share)
	}
}
