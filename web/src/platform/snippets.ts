/** Programs to start from. */

export interface Snippet {
  name: string;
  language: string;
  code: string;
}

export function snippets(origin: string, model: string, auth: boolean): Snippet[] {
  const key = auth ? "YOUR_API_KEY" : "none";
  const header = auth ? ` \\\n  -H "Authorization: Bearer $HADAL_API_KEY"` : "";
  return [
    {
      name: "curl",
      language: "bash",
      code: `curl ${origin}/v1/chat/completions${header} \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "${model}",
    "messages": [{"role": "user", "content": "Hello"}]
  }'
`,
    },
    {
      name: "Python",
      language: "python",
      code: `# pip install openai
from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="${key}")

stream = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
`,
    },
    {
      name: "LangChain",
      language: "python",
      code: `# pip install langchain-openai
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    base_url="${origin}/v1",
    api_key="${key}",
    model="${model}",
)
print(llm.invoke("Hello").content)
`,
    },
    {
      name: "JavaScript",
      language: "javascript",
      code: `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: "${key}" });

const answer = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);
`,
    },
  ];
}
