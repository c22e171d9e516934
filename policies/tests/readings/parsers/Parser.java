// One target a line; for each a line of what Java makes of its path, as `d:HEX` (decoded) or `r:HEX` (not decoded).
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.concurrent.Callable;

public class Parser {
    static String hex(String text) {
        return HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
    }

    static void add(StringBuilder line, String kind, Callable<String> reading) {
        try {
            String text = reading.call();
            if (text != null && !text.isEmpty()) {
                line.append(line.length() == 0 ? "" : " ").append(kind).append(':').append(hex(text));
            }
        } catch (Exception refused) {
            // A parser that refuses the target reaches nothing.
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String read = in.readLine(); read != null; read = in.readLine()) {
            String target = read;
            String bare = target.split("\\?", 2)[0];
            StringBuilder line = new StringBuilder();
            add(line, "d", () -> URI.create(target).getPath());
            add(line, "r", () -> URI.create(target).getRawPath());
            add(line, "d", () -> URI.create(target).normalize().getPath());
            add(line, "d", () -> URI.create("http://host.example" + target).normalize().getPath());
            add(line, "d", () -> URI.create("http://host.example/").resolve(target).getPath());
            add(line, "d", () -> Path.of(URI.create("http://host.example" + target).getPath()).normalize().toString());
            add(line, "d", () -> Path.of(URLDecoder.decode(bare, StandardCharsets.UTF_8)).normalize().toString());
            out.println(line);
        }
        out.flush();
    }
}
