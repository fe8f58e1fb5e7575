// node sharp.js INPUT OUTPUT REPEAT
const sharp = require("sharp");

const [input, output, repeat] = process.argv.slice(2);
sharp.concurrency(1);
sharp.cache(false);

async function main() {
    for (let round = 0; round < Number(repeat); round++) {
        await sharp(input)
            .autoOrient()
            .resize(512, 512, { fit: "inside", withoutEnlargement: true })
            .jpeg({ quality: 80 })
            .toFile(output);
    }
}

main();
