package org.edgesr.sample;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/** Answers lines of standard input, so that tests/test_android.py can ask the shell's own code. */
final class PathsCheck {
    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] asked = line.split("\t", -1);
            switch (asked[0]) {
                case "asset":
                    System.out.println(Paths.inAssets(asked[1], asked[2], asked[3]));
                    break;
                case "type":
                    System.out.println(Paths.type(asked[1]) + " " + Paths.isText(Paths.type(asked[1])));
                    break;
                case "gives way":
                    System.out.println(Paths.givesWay(asked[1], asked[2]));
                    break;
                default:
                    System.out.println(Paths.plainName(asked[1]));
            }
        }
    }
}
